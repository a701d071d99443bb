"""The command: measures, prints as it goes, verifies what the run left, writes the page."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import uvloop

from shieldx.ledger.verify import verify
from tests.bench.cases import (
    Case,
    Measured,
    baseline,
    cases,
    measure,
    median,
    open_case,
    open_cases,
    sustained,
)
from tests.bench.interpreter import of_the_image
from tests.bench.page import Row, page, table
from tests.bench.scripts import ACCOUNTS
from tests.bench.servers import Bench, Server, bench
from tests.bench.targets import OPEN_LOOP_PER_SECOND, Speeds, open_loop_case, targets

PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"
MOST_CLIENTS: Final = 256
BASELINE_CLIENTS: Final = (1, 8, 64)


class Run:
    """One run on servers that stand; collects rows."""

    def __init__(self, servers: Bench, folder: Path, *, quick: bool) -> None:
        self.rounds = 2 if quick else 3
        self.seconds = 2.0 if quick else 4.0
        self.quick = quick
        self._bench = servers
        self._folder = folder

    async def compare(self, case: Case) -> list[Row]:
        """Measure a case in turns."""
        contenders = self._contenders(case)
        rounds: dict[str, list[Measured]] = {server.name: [] for server in contenders}
        row_by_row: dict[int, list[Measured]] = {clients: [] for clients in BASELINE_CLIENTS}
        for _ in range(self.rounds):
            for server in contenders:
                one = await measure(self._bench, server, case, self.seconds)
                rounds[server.name].append(one)
            if case.baseline:
                for clients, found in row_by_row.items():
                    one = await baseline(self._bench, clients, self.seconds, self._folder)
                    found.append(one)
        product = median(rounds["product"])
        rows = [Row(case.title, "ShieldX", product, None)]
        if "prototype" in rounds:
            yardstick = median(rounds["prototype"])
            rows = [
                Row(case.title, "ShieldX", product, product.rate / yardstick.rate),
                Row(case.title, "prototype", yardstick, 1.0),
            ]
        if case.baseline:
            for clients, found in row_by_row.items():
                figures = median(found)
                name = f"row by row, {clients} clients"
                rows.append(Row(case.title, name, figures, figures.rate / yardstick.rate))
        _tell(rows)
        return rows

    async def last(self) -> list[Row]:
        """Measure for long."""
        seconds = 10.0 if self.quick else 60.0
        measured = await sustained(self._bench, MOST_CLIENTS, seconds)
        title = f"{seconds:.0f} s, {MOST_CLIENTS} clients, a checkpoint in the middle"
        rows = [Row(title, "ShieldX", measured, None)]
        _tell(rows)
        return rows

    async def verified(self) -> tuple[str, float]:
        """Verify what the run left in the product's database; RuntimeError if it is not clean.

        Return what to say of it, and entries a second.
        """
        began = time.perf_counter()
        report = await verify(self._bench.product.dsn, self._bench.ring)
        seconds = time.perf_counter() - began
        if report.problem is not None:
            raise RuntimeError(f"what the run left is not clean: {report.problem}")
        speed = report.entries / seconds
        said = (
            f"`verify` of what the run left: {report.entries:,} entries with their receipts, "
            f"{report.transfers:,} transfers, {report.accounts:,} accounts and "
            f"{report.holds:,} holds in "
            f"{seconds:.0f} s ({speed:,.0f} entries/s): clean.\n"
        )
        sys.stdout.write(said)
        return said, speed

    def _contenders(self, case: Case) -> list[Server]:
        if case.prototype is None:
            return [self._bench.product]
        return [self._bench.prototype, self._bench.product]


async def main(*, quick: bool, target: Path | None) -> None:
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="shieldx-bench-") as temporary:
        folder = Path(temporary)
        async with bench(folder, of_the_image(folder / "image")) as servers:
            run = Run(servers, folder, quick=quick)
            closed = [
                row for case in cases(servers, quick=quick) for row in await run.compare(case)
            ]
            opened = [
                row for case in open_cases(servers, quick=quick) for row in await run.compare(case)
            ]
            rate = int(OPEN_LOOP_PER_SECOND * Speeds(closed).scale)
            opened += await run.compare(open_case(servers, rate, open_loop_case(rate)))
            long = await run.last()
            clean, verified = await run.verified()
            held = targets(Speeds([*closed, *opened, *long]), verified)
            sys.stdout.write(held)
            said = f"Load of the machine before: {load:.1f}."
            text = page(
                [
                    ("Targets", held),
                    ("As fast as it goes", table(closed)),
                    ("At a given rate", f"{OPEN}\n{table(opened)}"),
                    ("For long", table(long)),
                    ("Afterwards", clean),
                ],
                accounts=ACCOUNTS,
                postgres=servers.version,
                python=servers.python,
                load=said,
            )
    if target is not None:
        await asyncio.to_thread(target.write_text, text)
        sys.stdout.write(f"written: {target}\n")


OPEN: Final = (
    "Requests leave by the clock over 64 connections, whether answers come or not; a latency\n"
    "counts from the moment at which its request was meant to leave.\n"
)


def _tell(rows: list[Row]) -> None:
    for row in rows:
        figures = row.measured
        ratio = "" if row.ratio is None else f"{row.ratio:6.2f}x"
        sys.stdout.write(
            f"{row.case:48} {row.system:22} {figures.rate:9,.0f}/s {ratio:7} "
            f"p50 {figures.p50:8.2f} p95 {figures.p95:8.2f} p99 {figures.p99:8.2f} ms; "
            f"us: server {figures.server:.1f} postgres {figures.postgres:.1f} "
            f"clients {figures.clients:.1f}\n"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench-ledger", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run that writes no page")
    arguments = parser.parse_args()
    uvloop.run(main(quick=arguments.quick, target=None if arguments.quick else PAGE))
