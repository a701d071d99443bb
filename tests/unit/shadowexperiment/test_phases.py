"""The table of transitions, cell by cell: what may be found where, and what follows."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pytest

from controllers.shadowexperiment.phases import (
    RETURN,
    TRANSITIONS,
    Finding,
    IllegalTransitionError,
    Phase,
    diagram,
    following,
)

I, P, S, G, D, B, R, H, U, V = (  # noqa: E741 - one letter a phase keeps the table readable.
    Phase.IDLE,
    Phase.PREPARING,
    Phase.STEPPING,
    Phase.PROMOTING,
    Phase.PROMOTED,
    Phase.ROLLING_BACK,
    Phase.ROLLED_BACK,
    Phase.PAUSED,
    Phase.INCONCLUSIVE,
    Phase.INVALID,
)
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "concepts" / "experiments.md"
NO = None  # cannot be found there
# The phases across, the findings down; written out a second time on purpose.
COLUMNS = (I, P, S, G, D, B, R, H, U, V)
TABLE: Mapping[Finding, tuple[Phase | str | None, ...]] = {
    Finding.STEADY: (I, P, S, G, D, B, R, H, U, V),
    Finding.FAULTY: (V, V, V, V, V, V, V, V, V, V),
    Finding.SOUND: (NO, NO, NO, NO, NO, NO, NO, NO, NO, I),
    Finding.HELD: (H, H, H, NO, H, NO, H, NO, H, NO),
    Finding.CONTINUED: (NO, NO, NO, NO, NO, NO, NO, "back", NO, NO),
    Finding.CHANGED: (P, B, B, NO, P, NO, P, NO, B, NO),
    Finding.REVERTED: (NO, B, B, NO, NO, NO, I, NO, B, NO),
    Finding.PASSED: (G, G, G, NO, G, NO, G, NO, G, NO),
    Finding.READY: (NO, S, S, NO, NO, NO, NO, NO, NO, NO),
    Finding.STUCK: (NO, B, B, NO, NO, NO, NO, NO, NO, NO),
    Finding.FRESH_AND_FINE: (NO, NO, S, NO, NO, NO, NO, NO, NO, NO),
    Finding.HARMFUL: (NO, NO, B, NO, NO, NO, NO, NO, B, NO),
    Finding.PROVEN: (NO, NO, G, NO, NO, NO, NO, NO, NO, NO),
    Finding.UNDECIDED: (NO, NO, U, NO, NO, NO, NO, NO, NO, NO),
    Finding.OVERDUE: (NO, NO, B, NO, NO, NO, NO, NO, B, NO),
    Finding.BLIND: (NO, NO, B, NO, NO, NO, NO, NO, B, NO),
    Finding.EXTENDED: (NO, NO, NO, NO, NO, NO, NO, NO, S, NO),
    Finding.DONE: (NO, NO, NO, D, NO, R, NO, NO, NO, R),
    Finding.WITHDRAWN: (NO, NO, NO, NO, NO, I, NO, NO, NO, NO),
}
CELLS = [
    (phase, finding, after)
    for finding, row in TABLE.items()
    for phase, after in zip(COLUMNS, row, strict=True)
]


def test_the_cells_are_all_pairs() -> None:
    assert {(phase, finding) for phase, finding, _ in CELLS} == set(product(Phase, Finding))


@pytest.mark.parametrize(("phase", "finding", "after"), CELLS)
def test_a_pair_leads_where_the_table_says(
    phase: Phase, finding: Finding, after: Phase | str | None
) -> None:
    if after is None:
        with pytest.raises(IllegalTransitionError, match=f"{phase.name} cannot find"):
            following(phase, finding, Phase.STEPPING)
    elif after == "back":
        assert TRANSITIONS[phase, finding] is RETURN
        assert following(phase, finding, Phase.STEPPING) is Phase.STEPPING
    else:
        assert following(phase, finding, None) is after


def test_paused_without_a_past_is_an_error() -> None:
    with pytest.raises(IllegalTransitionError, match="where it came from"):
        following(Phase.PAUSED, Finding.CONTINUED, None)


def test_every_phase_is_reached_and_left() -> None:
    moves = [(phase, after) for (phase, _), after in TRANSITIONS.items() if after is not phase]

    assert {phase for phase, _ in moves} == set(Phase)
    assert {after for _, after in moves if after} == set(Phase)


def test_the_documentation_shows_the_table() -> None:
    assert diagram() in DOCUMENTATION.read_text()
