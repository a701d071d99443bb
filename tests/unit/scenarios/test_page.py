"""A wrong verdict is told, never averaged away."""

from dataclasses import replace
from pathlib import Path

from tests.scenarios import kept
from tests.scenarios.page import page
from tests.scenarios.stories import STORIES, Run, Told, faults

ERRORS, SLOWER, EQUAL, OUTAGE = STORIES[:4]
GOOD = Told(
    Run(ERRORS, 1),
    ended="RolledBack",
    decision="Rolled back: errors got worse than tolerated: 5.1% of 812",
    faults=(),
    weight="20%",
    buckets=6,
    requests=1200,
    took=120,
    back=4,
    ended_at="2026-12-01 10:00",
)


def test_a_run_that_ends_as_it_should_has_no_faults() -> None:
    assert list(faults(GOOD)) == []


def test_another_verdict_another_blame_and_a_late_return_are_faults() -> None:
    promoted = replace(GOOD, ended="Promoted", back=None)
    blamed = replace(GOOD, decision="Rolled back: latency<=0.1 got worse than tolerated")

    slow = replace(blamed, of=Run(SLOWER, 1))

    assert list(faults(slow)) == []
    assert list(faults(promoted)) == ["should have ended RolledBack"]
    assert list(faults(blamed)) == ["was not rolled back on errors"]
    assert list(faults(replace(GOOD, back=15.0))) == []
    assert list(faults(replace(GOOD, back=16.0))) == [
        "traffic was back only 16 s after the evidence sufficed"
    ]


def test_the_page_counts_what_was_as_it_should_be_and_shows_every_run() -> None:
    late = replace(GOOD, of=Run(ERRORS, 2), back=16.0, faults=("traffic was back late",))
    text = page([GOOD, late])

    assert f"| {ERRORS.title} | `RolledBack` | 1 of 2 | 120 s | 10 s (16 s) | 0 |" in text
    assert text.count("Rolled back: errors got worse") == 2
    assert "**traffic was back late**" in text
    assert EQUAL.title + " |" not in text  # What was not played is not in the table.


def test_an_outage_of_both_versions_is_over_when_the_challenger_is_promoted() -> None:
    undecided = replace(GOOD, of=Run(OUTAGE, 1), ended="Stepping", decision="Step 2", back=None)

    assert list(faults(replace(undecided, ended="Promoted"))) == []
    assert list(faults(undecided)) == ["should have ended Promoted"]


def test_the_page_says_what_its_table_does_not_show() -> None:
    undecided = replace(GOOD, of=Run(OUTAGE, 1), ended="Stepping", decision="Step 2", back=None)

    text = page([GOOD, undecided])

    assert f"* *{OUTAGE.title}*: {OUTAGE.note}.\n" in text
    assert "* 1 of the runs were still on trial when watching ended" in text
    assert SLOWER.note not in text  # Nor is the story in the table.
    assert "does not show" not in page([GOOD])
    assert "1 of the runs are from before" in page([replace(GOOD, ended_at="2026-11-26 10:00")])


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    tales = [replace(GOOD, faults=("late",), load=3.5, ended_at="2026-01-01 10:00", rate=40)]
    kept.write(tales, tmp_path / "kept.json")

    assert kept.read(tmp_path / "kept.json") == tales
    assert kept.read(tmp_path / "nothing.json") == []
