"""What the ledger holds itself to, beside what this run measured: kept or not, nothing in between.

Ratios are to the others of the same run. Rates and latencies were set on a machine on which the
prototype does 24,000 transfers a second with 64 clients; on another one they are scaled by what it
does there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.page import Row

PROTOTYPE_PER_SECOND: Final = 24_000
YARDSTICK: Final = "one at a time, 64 clients"
OPEN_LOOP_PER_SECOND: Final = 10_000
HEAD: Final = "| what | asked | asked of this machine | measured | kept |\n|---|--:|--:|--:|---|\n"

SINGLES: Final = 0.8
BATCHES: Final = 1.2
ROW_BY_ROW: Final = 20.0
# Operations a second.
RATES: Final = (
    ("60 s, 256 clients, a checkpoint in the middle", 10_000),
    ("batches of 1000, 4 clients", 20_000),
)
# Milliseconds: median and 95 %, where asked.
LATENCIES: Final = (
    ("one at a time, 1 clients", 2.0, 6.0),
    ("one at a time, 64 clients", 9.0, 20.0),
    ("reserve and commit, 64 clients", 16.0, 28.0),
    ("read a balance, 64 clients", 1.0, None),
)
OPEN_LOOP_P95: Final = 28.0
VERIFY_PER_SECOND: Final = 180_000


@dataclass(frozen=True)
class Speeds:
    """Everything that was measured, to be asked by case and system."""

    rows: Sequence[Row]

    def of(self, case: str, system: str = "ShieldX") -> Row | None:
        """Return what a system did in a case, if that was measured."""
        found = (row for row in self.rows if row.case == case and row.system.startswith(system))
        return next(found, None)

    @property
    def scale(self) -> float:
        """How fast this machine is, beside the one on which the targets were set."""
        yardstick = self.of(YARDSTICK, "prototype")
        return 1.0 if yardstick is None else yardstick.measured.rate / PROTOTYPE_PER_SECOND


def open_loop_case(rate: int) -> str:
    """Return the title of the open loop that is asked of this machine."""
    return f"{rate:,} arrivals a second, asked of this machine"


def targets(speeds: Speeds, verified_per_second: float) -> str:
    """Return the table."""
    lines = [*_ratios(speeds), *_rates(speeds, verified_per_second), *_latencies(speeds)]
    scale = f"This machine is {speeds.scale:.2f} times the one on which the targets were set.\n\n"
    return scale + HEAD + "".join(lines)


def _ratios(speeds: Speeds) -> list[str]:
    asked = [(f"one at a time, {n} clients", SINGLES) for n in (1, 8, 64, 256)]
    asked += [(f"batches of {n}, 4 clients", BATCHES) for n in (100, 1000)]
    lines = [
        _line(f"{case}: of the prototype's rate", ratio, ratio, row.ratio, 2, more=True)
        for case, ratio in asked
        if (row := speeds.of(case)) is not None and row.ratio is not None
    ]
    ours, theirs = speeds.of(YARDSTICK), speeds.of(YARDSTICK, "row by row, 64")
    if ours is not None and theirs is not None and theirs.measured.rate:
        times = ours.measured.rate / theirs.measured.rate
        what = f"{YARDSTICK}: times row by row with as many"
        lines.append(_line(what, ROW_BY_ROW, ROW_BY_ROW, times, 1, more=True))
    return lines


def _rates(speeds: Speeds, verified_per_second: float) -> list[str]:
    measured = [(case, asked, speeds.of(case)) for case, asked in RATES]
    found = [(case, asked, row.measured.rate) for case, asked, row in measured if row is not None]
    found.append(("`verify`, entries", VERIFY_PER_SECOND, verified_per_second))
    return [
        _line(f"{case}: a second", asked, asked * speeds.scale, rate, 0, more=True)
        for case, asked, rate in found
    ]


def _latencies(speeds: Speeds) -> list[str]:
    asked: list[tuple[str, float | None, float | None]] = [*LATENCIES]
    asked.append((open_loop_case(int(OPEN_LOOP_PER_SECOND * speeds.scale)), None, OPEN_LOOP_P95))
    return [
        _line(f"{case}: {name}, ms", limit, limit / speeds.scale, value, 2, more=False)
        for case, p50, p95 in asked
        if (row := speeds.of(case)) is not None
        for name, limit, value in (
            ("median", p50, row.measured.p50),
            ("95 %", p95, row.measured.p95),
        )
        if limit is not None
    ]


def _line(what: str, asked: float, here: float, measured: float, digits: int, *, more: bool) -> str:
    kept = measured >= here if more else measured <= here
    sign = "≥" if more else "≤"
    numbers = [
        f"{sign} {asked:,.{digits}f}",
        f"{sign} {here:,.{digits}f}",
        f"{measured:,.{digits}f}",
    ]
    return f"| {what} | {' | '.join(numbers)} | {'yes' if kept else '**no**'} |\n"
