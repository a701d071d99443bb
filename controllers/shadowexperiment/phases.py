"""The phases of an experiment, and the table that says which one follows which finding.

A finding is what one look at the cluster amounts to; `plan` reduces everything it sees to one.
What is not in the table cannot be found in that phase, and says so loudly.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where an experiment stands."""

    IDLE = "Idle"
    PREPARING = "Preparing"
    STEPPING = "Stepping"
    PROMOTING = "Promoting"
    PROMOTED = "Promoted"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    PAUSED = "Paused"
    INCONCLUSIVE = "Inconclusive"
    INVALID = "Invalid"


class Finding(StrEnum):
    """What one look at the cluster amounts to."""

    STEADY = "nothing to decide"
    FAULTY = "spec and cluster do not fit"
    SOUND = "spec and cluster fit again"
    HELD = "paused in the spec"
    CONTINUED = "no longer paused"
    CHANGED = "another template awaits its trial"
    REVERTED = "the template is the champion's again"
    PASSED = "the change rolls out without a verdict"
    READY = "the challenger's pods are ready"
    STUCK = "the challenger's pods do not get ready in time"
    FRESH_AND_FINE = "time is up and fresh evidence is fine"
    HARMFUL = "harm is proven"
    PROVEN = "the margins are proven"
    UNDECIDED = "no verdict in time, to be held"
    OVERDUE = "no verdict in time, to be rolled back"
    BLIND = "no data for too long, to be rolled back"
    EXTENDED = "there is more time for a verdict"
    DONE = "everything is in place"
    WITHDRAWN = "the challenger is gone and no longer asked for"


# A challenger has traffic and is measured, whether a verdict is still due or has come too late.
MEASURED: Final = frozenset({Phase.STEPPING, Phase.INCONCLUSIVE})


class IllegalTransitionError(Exception):
    """A finding that cannot be made in a phase: a defect of the plan."""


# Where Paused leads: back to the phase that it was entered from.
RETURN: Final = None

TRANSITIONS: Final[Mapping[tuple[Phase, Finding], Phase | None]] = {
    (Phase.INVALID, Finding.STEADY): Phase.INVALID,
    (Phase.INVALID, Finding.FAULTY): Phase.INVALID,
    (Phase.INVALID, Finding.SOUND): Phase.IDLE,
    (Phase.INVALID, Finding.DONE): Phase.ROLLED_BACK,
    (Phase.IDLE, Finding.STEADY): Phase.IDLE,
    (Phase.IDLE, Finding.FAULTY): Phase.INVALID,
    (Phase.IDLE, Finding.HELD): Phase.PAUSED,
    (Phase.IDLE, Finding.CHANGED): Phase.PREPARING,
    (Phase.IDLE, Finding.PASSED): Phase.PROMOTING,
    (Phase.PREPARING, Finding.STEADY): Phase.PREPARING,
    (Phase.PREPARING, Finding.FAULTY): Phase.INVALID,
    (Phase.PREPARING, Finding.HELD): Phase.PAUSED,
    (Phase.PREPARING, Finding.CHANGED): Phase.ROLLING_BACK,
    (Phase.PREPARING, Finding.REVERTED): Phase.ROLLING_BACK,
    (Phase.PREPARING, Finding.PASSED): Phase.PROMOTING,
    (Phase.PREPARING, Finding.READY): Phase.STEPPING,
    (Phase.PREPARING, Finding.STUCK): Phase.ROLLING_BACK,
    (Phase.STEPPING, Finding.STEADY): Phase.STEPPING,
    (Phase.STEPPING, Finding.FAULTY): Phase.INVALID,
    (Phase.STEPPING, Finding.HELD): Phase.PAUSED,
    (Phase.STEPPING, Finding.CHANGED): Phase.ROLLING_BACK,
    (Phase.STEPPING, Finding.REVERTED): Phase.ROLLING_BACK,
    (Phase.STEPPING, Finding.PASSED): Phase.PROMOTING,
    (Phase.STEPPING, Finding.READY): Phase.STEPPING,
    (Phase.STEPPING, Finding.STUCK): Phase.ROLLING_BACK,
    (Phase.STEPPING, Finding.FRESH_AND_FINE): Phase.STEPPING,
    (Phase.STEPPING, Finding.HARMFUL): Phase.ROLLING_BACK,
    (Phase.STEPPING, Finding.PROVEN): Phase.PROMOTING,
    (Phase.STEPPING, Finding.UNDECIDED): Phase.INCONCLUSIVE,
    (Phase.STEPPING, Finding.OVERDUE): Phase.ROLLING_BACK,
    (Phase.STEPPING, Finding.BLIND): Phase.ROLLING_BACK,
    (Phase.INCONCLUSIVE, Finding.STEADY): Phase.INCONCLUSIVE,
    (Phase.INCONCLUSIVE, Finding.FAULTY): Phase.INVALID,
    (Phase.INCONCLUSIVE, Finding.HELD): Phase.PAUSED,
    (Phase.INCONCLUSIVE, Finding.CHANGED): Phase.ROLLING_BACK,
    (Phase.INCONCLUSIVE, Finding.REVERTED): Phase.ROLLING_BACK,
    (Phase.INCONCLUSIVE, Finding.PASSED): Phase.PROMOTING,
    (Phase.INCONCLUSIVE, Finding.HARMFUL): Phase.ROLLING_BACK,
    (Phase.INCONCLUSIVE, Finding.OVERDUE): Phase.ROLLING_BACK,
    (Phase.INCONCLUSIVE, Finding.BLIND): Phase.ROLLING_BACK,
    (Phase.INCONCLUSIVE, Finding.EXTENDED): Phase.STEPPING,
    (Phase.PROMOTING, Finding.STEADY): Phase.PROMOTING,
    (Phase.PROMOTING, Finding.FAULTY): Phase.INVALID,
    (Phase.PROMOTING, Finding.DONE): Phase.PROMOTED,
    (Phase.PROMOTED, Finding.STEADY): Phase.PROMOTED,
    (Phase.PROMOTED, Finding.FAULTY): Phase.INVALID,
    (Phase.PROMOTED, Finding.HELD): Phase.PAUSED,
    (Phase.PROMOTED, Finding.CHANGED): Phase.PREPARING,
    (Phase.PROMOTED, Finding.PASSED): Phase.PROMOTING,
    (Phase.ROLLING_BACK, Finding.STEADY): Phase.ROLLING_BACK,
    (Phase.ROLLING_BACK, Finding.FAULTY): Phase.INVALID,
    (Phase.ROLLING_BACK, Finding.DONE): Phase.ROLLED_BACK,
    (Phase.ROLLING_BACK, Finding.WITHDRAWN): Phase.IDLE,
    (Phase.ROLLED_BACK, Finding.STEADY): Phase.ROLLED_BACK,
    (Phase.ROLLED_BACK, Finding.FAULTY): Phase.INVALID,
    (Phase.ROLLED_BACK, Finding.HELD): Phase.PAUSED,
    (Phase.ROLLED_BACK, Finding.CHANGED): Phase.PREPARING,
    (Phase.ROLLED_BACK, Finding.REVERTED): Phase.IDLE,
    (Phase.ROLLED_BACK, Finding.PASSED): Phase.PROMOTING,
    (Phase.PAUSED, Finding.STEADY): Phase.PAUSED,
    (Phase.PAUSED, Finding.FAULTY): Phase.INVALID,
    (Phase.PAUSED, Finding.CONTINUED): RETURN,
}


def following(phase: Phase, finding: Finding, came_from: Phase | None) -> Phase:
    """Return the phase after a finding; `came_from` is where Paused returns to."""
    try:
        after = TRANSITIONS[phase, finding]
    except KeyError:
        raise IllegalTransitionError(f"{phase.name} cannot find {finding.name}") from None
    if after is not RETURN:
        return after
    if came_from is None:
        raise IllegalTransitionError("Paused does not know where it came from")
    return came_from


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> Invalid: not looked at yet"]
    for (phase, finding), after in TRANSITIONS.items():
        if after is RETURN:
            lines.append(f"    {phase} --> [*]: {finding}, back to the phase before")
        elif after is not phase:
            lines.append(f"    {phase} --> {after}: {finding}")
    return "\n".join(lines)
