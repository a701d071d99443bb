"""The figures of a whole run, on the screen and in `docs/chaos.md`."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.chaos.campaigns import Verdict

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"
ROUNDS: Final = "<!-- figures: written by `make chaos-ledger` -->"
COLUMNS: Final = (
    "campaign",
    "faults",
    "writes answered",
    "in flight (least)",
    "left open",
    "of them done",
    "longest silence",
    "problems",
)


@dataclass(slots=True)
class Row:
    """What all runs of one campaign add up to."""

    what: str
    runs: int = 0
    faults: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    unsettled: int = 0
    had_been_done: int = 0
    silence_seconds: float = 0.0
    problems: int = 0

    def add(self, verdict: Verdict) -> None:
        judgement = verdict.judgement
        least = min(judgement.in_flight, default=0)
        self.in_flight = min(self.in_flight, least) if self.runs else least
        self.runs += 1
        self.faults += verdict.faults
        self.acknowledged += judgement.acknowledged
        self.unsettled += judgement.unsettled
        self.had_been_done += judgement.had_been_done
        self.silence_seconds = max(self.silence_seconds, judgement.silence_seconds)
        self.problems += len(judgement.problems)

    def cells(self) -> tuple[str, ...]:
        return (
            self.what,
            str(self.faults),
            f"{self.acknowledged:,}",
            str(self.in_flight),
            f"{self.unsettled:,}",
            f"{self.had_been_done:,}",
            f"{self.silence_seconds:.1f} s",
            str(self.problems),
        )


def rows(verdicts: Sequence[Verdict]) -> list[Row]:
    """Add up the runs of each campaign."""
    found: dict[str, Row] = {}
    for verdict in verdicts:
        found.setdefault(verdict.what, Row(verdict.what)).add(verdict)
    total = Row("**all**")
    for verdict in verdicts:
        total.add(verdict)
    return [*found.values(), total]


def show(verdicts: Sequence[Verdict]) -> None:
    """Print the table."""
    table = Table(*COLUMNS)
    for row in rows(verdicts):
        table.add_row(*row.cells())
    Console(width=150).print(table)


def write(verdicts: Sequence[Verdict], seconds: float, left_out: Sequence[str]) -> None:
    """Put the figures into the page, below what is written by hand."""
    by_hand = PAGE.read_text().partition(ROUNDS)[0]
    lines = [
        ROUNDS,
        "",
        f"{datetime.now(UTC):%Y-%m-%d}: {seconds:.0f} seconds in one go,",
        f"{len(verdicts)} databases one after the other;",
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()},",
        f"CPython {platform.python_version()}, PostgreSQL of the `embedded` extra, fsync on.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(row.cells())} |" for row in rows(verdicts)),
        *(f"\nNot run: {reason}." for reason in left_out),
    ]
    PAGE.write_text(by_hand + "\n".join(lines) + "\n")
