"""What the demo says of a status, and what it keeps to itself."""

from typing import Any

from tests.demo.narrator import changes

STEPPING: dict[str, Any] = {
    "phase": "Stepping",
    "step": {"index": 1, "count": 2, "weight": 20, "actual": 25},
    "summary": {"probabilityOk": "3.1%"},
    "decision": "Step 1 of 2 at 20%: errors 5.00% of 300",
}


def test_a_new_phase_is_told_with_weight_and_decision() -> None:
    assert changes({"phase": "Preparing"}, STEPPING) == [
        "[bold]Stepping[/bold]",
        "step 1 of 2: 25 % of the pods are the challenger's (asked: 20 %)",
        "[italic]Step 1 of 2 at 20%: errors 5.00% of 300; P(ok) 3.1%[/italic]",
    ]


def test_nothing_is_told_where_only_times_have_moved() -> None:
    assert changes(STEPPING, {**STEPPING, "since": "2026-01-01T00:00:00Z"}) == []


def test_the_decision_is_told_once() -> None:
    decided = {**STEPPING, "phase": "RolledBack", "decision": "errors are worse: 15 of 300"}

    assert changes(STEPPING, decided) == [
        "[bold]RolledBack[/bold]",
        "[italic]errors are worse: 15 of 300; P(ok) 3.1%[/italic]",
    ]
    assert changes(decided, decided) == []


def test_an_experiment_that_has_not_begun_has_only_a_phase() -> None:
    assert changes({}, {"phase": "Idle"}) == ["[bold]Idle[/bold]"]
