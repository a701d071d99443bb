"""`shieldx ledger …`: what people ask of a ledger's books, without its API."""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import uvloop

from shieldx.ledger.dsn import DsnError, read_dsn
from shieldx.ledger.embedded import EmbeddedError, EmbeddedPostgres, running_dsn
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.seals import RECEIPT_KEYS, KeyRing, SealError
from shieldx.ledger.verify import Recorded, Report
from shieldx.ledger.verify import verify as verify_books

CLEAN: Final = 0
BROKEN: Final = 1
UNKNOWN: Final = 2
TELL_SECONDS: Final = 0.5


class QuestionError(Exception):
    """What was asked cannot be answered as it was asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which books, and what else is known of them."""

    dsn_file: Path | None
    data: Path | None
    receipt_keys: Path | None = None
    receipt: str | None = None
    recorded: str | None = None

    def ring(self) -> KeyRing | None:
        """Return the ledger's keys where they are given, or lie beside its data."""
        folder = self.receipt_keys
        if folder is None and self.data is not None and (self.data / RECEIPT_KEYS).is_dir():
            folder = self.data / RECEIPT_KEYS
        return None if folder is None else KeyRing.read(folder)

    def known_end(self) -> Recorded | None:
        """Parse how far the chain is known to reach."""
        if self.recorded is None:
            return None
        position, _, digest = self.recorded.partition(":")
        try:
            return Recorded(int(position), bytes.fromhex(digest))
        except ValueError as error:
            message = f"--recorded is POSITION:HASH, not {self.recorded!r}"
            raise QuestionError(message) from error


def verify(question: Question) -> int:
    """Re-derive chain and balances, say how they are, and return the exit code."""
    refusals = (DsnError, EmbeddedError, ShardUnavailableError, SealError, QuestionError)
    try:
        report = uvloop.run(_verify(question))
    except refusals as error:
        sys.stderr.write(f"shieldx ledger verify: {error}\n")
        return UNKNOWN
    except Exception as error:  # noqa: BLE001 — whatever it was, nothing is known about the books.
        reason = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"shieldx ledger verify: this is no ledger of ours, or broken: {reason}\n")
        return UNKNOWN
    sys.stdout.write(describe(report, question.receipt))
    proven = question.receipt is None or report.receipt_at is not None
    return CLEAN if report.problem is None and proven else BROKEN


async def _verify(question: Question) -> Report:
    ring, end = question.ring(), question.known_end()
    if question.receipt is not None and ring is None:
        raise QuestionError("a receipt is checked with the ledger's keys: give --receipt-keys DIR")
    async with _dsn(question) as dsn:
        with telling(sys.stderr) as progress:
            return await verify_books(dsn, ring, end, question.receipt, progress=progress)


@contextmanager
def telling(to: TextIO) -> Iterator[Callable[[int, int], None] | None]:
    """Keep a line on a terminal that says how far it is; nothing elsewhere."""
    if not to.isatty():
        yield None
        return
    began = told = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= TELL_SECONDS:
            told = now
            to.write(f"\r{done:,} of {of:,} entries, {done / (now - began):,.0f}/s\x1b[K")
            to.flush()

    try:
        yield tell
    finally:
        to.write("\r\x1b[K")
        to.flush()


@asynccontextmanager
async def _dsn(question: Question) -> AsyncIterator[str]:
    data = question.data
    if question.dsn_file is not None:
        yield read_dsn(question.dsn_file)
    elif data is None or not (data / "pgdata").is_dir():
        raise EmbeddedError(f"{data} holds no ledger; it is made by: shieldx sidecar --embedded")
    elif (running := running_dsn(data)) is not None:
        yield running
    else:
        async with EmbeddedPostgres(data) as server:
            yield server.dsn


def describe(report: Report, receipt: str | None = None) -> str:
    """Say in a few lines what was verified and how it came out."""
    counted = (
        f"{report.entries} entries, {report.transfers} transfers, {report.accounts} accounts, "
        f"{report.holds} holds, {report.grants} grants verified"
    )
    if report.sealed:
        counted += f", {report.sealed} receipts genuine"
    text = f"{counted}: clean\n"
    if report.problem is not None:
        text = f"{counted}: NOT clean\nfirst problem: {report.problem}\n"
    elif report.end is not None:
        text += f"the chain ends at {report.end.position}:{report.end.hash.hex()}\n"
    if receipt is None:
        return text
    if report.receipt_at is None:
        return f"{text}receipt: no entry up to here has it\n"
    return f"{text}receipt: genuine, of entry {report.receipt_at}\n"
