"""One arm in one bucket, of one metric: what its pods counted, and what is missing; pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from shieldx.signals.counts import (
    UNKNOWN_PAST,
    Counted,
    Window,
    counted_between,
    restarted_between,
)
from shieldx.signals.readings import PodReadings, Problem, Reading, Trouble
from shieldx.signals.states import EvidenceReason, EvidenceState, Why


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm in one bucket: counts of pods seen whole, faults of pods that serve, the rest.

    `lost`: what a pod counted is missing. `lacking`: why the arm has no counts, if it has none.
    """

    counts: Mapping[str, Counted]
    problems: Sequence[Problem]
    lost: bool
    lacking: Why | None

    @property
    def pods(self) -> dict[str, tuple[float, float]]:
        """The events and bad ones by pod."""
        return {uid: (it.n, it.bad) for uid, it in self.counts.items()}

    @property
    def boundaries(self) -> frozenset[float]:
        """The boundaries that all pods have that have any."""
        found = [frozenset(it.at_most) for it in self.counts.values() if it.at_most]
        return frozenset.intersection(*found) - {math.inf} if found else frozenset()

    def slower_than(self, le: float) -> Self:
        """Return the arm with what is slower than a boundary as the bad ones."""
        counts = {
            uid: replace(it, bad=it.n - it.at_most.get(le, it.n)) for uid, it in self.counts.items()
        }
        return replace(self, counts=counts)


def arm_between(
    arm: str,
    name: str,
    window: Window,
    before: Mapping[str, PodReadings],
    after: Mapping[str, PodReadings],
) -> Arm:
    """Return what an arm did in the window, of one metric."""
    counts: dict[str, Counted] = {}
    problems: list[Problem] = []
    shown = False
    lost = any(uid not in after for uid, earlier in before.items() if earlier.pod.ready)
    for uid, now in after.items():
        earlier = before.get(uid)
        last = now.readings[name]
        shown = shown or (
            isinstance(last, Reading) and any(not it.again for it in last.series.values())
        )
        delta = counted_between(name, window, earlier, now)
        if not isinstance(delta, Problem):
            counts[uid] = delta
            lost = lost or (earlier is not None and restarted_between(name, window, earlier, now))
        elif delta.trouble is not Trouble.NOT_SCRAPED:
            problems.append(delta)
        elif now.pod.ready or (earlier is not None and earlier.pod.ready):
            lost = True
            if delta is not UNKNOWN_PAST:
                problems.append(delta)
    lacking = None
    if not any(it.n for it in counts.values()):
        lacking = _lacking(arm, name, after, counts, problems, shown=shown)
    return Arm(counts, problems, lost, lacking)


def blind(problem: Problem) -> Why:
    """Return why nothing is known where a pod has this problem."""
    return EvidenceState.PROVIDER_ERROR, EvidenceReason(problem.trouble), problem.message


def _lacking(
    arm: str,
    name: str,
    pods: Mapping[str, PodReadings],
    counts: Mapping[str, Counted],
    problems: Sequence[Problem],
    *,
    shown: bool,
) -> Why:
    """Return why an arm has no counts."""
    if problems:
        return blind(problems[0])
    if not any(it.pod.ready for it in pods.values()):
        return EvidenceState.INSUFFICIENT, EvidenceReason.NO_PODS, f"the {arm} has no ready pod"
    if not counts:
        message = f"the {arm}'s pods were first seen in this bucket"
        return EvidenceState.INSUFFICIENT, EvidenceReason.COLLECTING, message
    if not shown:
        message = f"no pod of the {arm} shows what {name} asks for: wrong name, or no request yet"
        return EvidenceState.INSUFFICIENT, EvidenceReason.NO_SERIES, message
    return EvidenceState.INSUFFICIENT, EvidenceReason.NO_TRAFFIC, f"the {arm} got no request"
