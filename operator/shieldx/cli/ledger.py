"""`shieldx ledger …`: what people ask of a ledger's books, without its API."""

import asyncio
import sys
from pathlib import Path
from typing import Final

from shieldx.ledger.dsn import DsnError, read_dsn
from shieldx.ledger.embedded import EmbeddedError, EmbeddedPostgres, running_dsn
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.verify import Report
from shieldx.ledger.verify import verify as verify_books

CLEAN: Final = 0
BROKEN: Final = 1
UNKNOWN: Final = 2


def verify(dsn_file: Path | None, data: Path | None) -> int:
    """Re-derive chain and balances, say how they are, and return the exit code."""
    try:
        report = asyncio.run(_verify(dsn_file, data))
    except (DsnError, EmbeddedError, ShardUnavailableError) as error:
        sys.stderr.write(f"shieldx ledger verify: {error}\n")
        return UNKNOWN
    except Exception as error:  # noqa: BLE001 — whatever it was, nothing is known about the books.
        reason = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"shieldx ledger verify: this is no ledger of ours, or broken: {reason}\n")
        return UNKNOWN
    sys.stdout.write(describe(report))
    return CLEAN if report.problem is None else BROKEN


async def _verify(dsn_file: Path | None, data: Path | None) -> Report:
    if dsn_file is not None:
        return await verify_books(read_dsn(dsn_file))
    if data is None or not (data / "pgdata").is_dir():
        raise EmbeddedError(f"{data} holds no ledger; it is made by: shieldx sidecar --embedded")
    running = running_dsn(data)
    if running is not None:
        return await verify_books(running)
    async with EmbeddedPostgres(data) as server:
        return await verify_books(server.dsn)


def describe(report: Report) -> str:
    """Say in one paragraph what was verified and how it came out."""
    counted = (
        f"{report.entries} entries, {report.transfers} transfers, {report.accounts} accounts, "
        f"{report.holds} holds verified"
    )
    if report.problem is None:
        return f"{counted}: clean\n"
    return f"{counted}: NOT clean\nfirst problem: {report.problem}\n"
