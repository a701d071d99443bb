"""The page of benchmarks: tables with ratios, and what they were measured on."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.cases import Measured

COLUMNS = (
    "| load | system | operations/s | ratio | p50 ms | p95 ms | p99 ms | CPU µs an operation: "
    "server | Postgres | clients |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
)
INTRODUCTION = """\
# Benchmarks

Written by `make bench-ledger`; not edited by hand. Speed differs between machines by a factor of
three and more, so read the ratios: all systems were measured in one run, in turns, on one Postgres
with everything durable (`fsync`, `synchronous_commit`), under the same clients, which share the
processors with them. WAL is written to files that stand ready, as in a database that has run for a
while: to fill a new one with zeros takes whoever needs it a tenth of a second. Figures are medians
of the rounds.

* **ShieldX**: `shieldx sidecar` with what a cluster has: a service-account token in every request,
  rights by account prefix, rate limits per caller and account, keys that are never repeated, the
  hash chain with a sealed receipt in every answer, history and events. {accounts:,}
  accounts, each transfer a `consume` into `system/revenue`.
* **Prototype**: `tests/bench/prototype.py`, group commit with nothing around it: no tokens,
  limits, holds, metadata or metrics. What the write path could be.
* **Row by row**: `tests/bench/baseline.sql`, one prepared call and one commit a transfer, with a
  chain, under `pgbench` without HTTP.
"""


@dataclass(frozen=True)
class Row:
    """One contender's figures in one case; the ratio is to the yardstick of the same case."""

    case: str
    system: str
    measured: Measured
    ratio: float | None


def table(rows: Sequence[Row]) -> str:
    """Return one table."""
    return COLUMNS + "".join(map(_line, rows))


def page(
    sections: Sequence[tuple[str, str]], *, accounts: int, postgres: str, python: str, load: str
) -> str:
    """Return the whole page."""
    parts = [INTRODUCTION.format(accounts=accounts), _machine(postgres, python, load)]
    parts += [f"## {title}\n\n{text}" for title, text in sections]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _line(row: Row) -> str:
    figures = row.measured
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    numbers = [
        f"{figures.rate:,.0f}",
        ratio,
        *(_number(value, 2) for value in (figures.p50, figures.p95, figures.p99)),
        *(_number(value, 1) for value in (figures.server, figures.postgres, figures.clients)),
    ]
    refused = f" ({figures.refused:,} refused)" if figures.refused else ""
    return f"| {row.case} | {row.system}{refused} | {' | '.join(numbers)} |\n"


def _number(value: float, digits: int) -> str:
    return "" if value != value else f"{value:,.{digits}f}"  # noqa: PLR0124 — not a number.


def _machine(postgres: str, python: str, load: str) -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {os.cpu_count()} processors "
        f"({model}), {memory:.0f} GiB, Linux {platform.release()}, {python}, "
        f"Postgres {postgres}. {load}\n"
    )
