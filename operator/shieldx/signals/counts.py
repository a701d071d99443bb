"""What one pod counted between two readings; pure.

Counters restart with their process, series come and go, and a pod may have a past that nobody
saw. What cannot be told from the two readings is a problem, never a number.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from shieldx.signals.readings import PodReadings, Problem, Reading, Series, Trouble


@dataclass(frozen=True, slots=True)
class Counted:
    """What one pod counted: events, bad ones, and of a histogram those at most at each `le`."""

    n: float = 0.0
    bad: float = 0.0
    at_most: Mapping[float, float] = field(default_factory=dict)


UNKNOWN_PAST: Final = Problem(Trouble.NOT_SCRAPED, "its counts before the bucket are not known")
_NOTHING_YET: Final = Reading({})


def counted_between(
    name: str, start: float, earlier: PodReadings | None, now: PodReadings
) -> Counted | Problem:
    """Return what a pod counted in the window, if it was seen whole."""
    last = now.readings[name]
    if isinstance(last, Problem):
        return last
    if earlier is None:
        if now.pod.started_at < start:
            return UNKNOWN_PAST
        # New in this window: all that it counted is of it.
        return _delta(_NOTHING_YET, last, restarted=False, pod=now.pod.name)
    first = earlier.readings[name]
    if isinstance(first, Problem):
        silent = first.trouble is Trouble.NOT_SCRAPED
        return UNKNOWN_PAST if silent and not earlier.pod.ready else first
    return _delta(first, last, restarted=restarted_between(name, earlier, now), pod=now.pod.name)


def _delta(
    first: Reading,
    last: Reading,
    *,
    restarted: bool,
    pod: str,
) -> Counted | Problem:
    """Return what was counted between two readings of a pod.

    If its series fell, the process began anew and all that is there is new; so it is if series
    went with a restart. A restart alone proves nothing: it may have been another container, and
    to take the whole past for a bucket is far worse than to miss a little. A series that goes
    without a restart (a label that is no longer used) is no reset.
    """
    before, after = first.series, last.series
    changes = [series.value - before[key].value for key, series in after.items() if key in before]
    fell = any(change < 0 for change in changes)
    if not restarted and ((before and not after) or (fell and any(it > 0 for it in changes))):
        message = f"pod {pod} did not restart, and its series have gone or went backwards"
        return Problem(Trouble.MALFORMED, message)
    if fell or (restarted and not before.keys() <= after.keys()):
        before = {}
    grown = [
        (series, series.value - (before[key].value if key in before else 0.0))
        for key, series in after.items()
    ]
    return _added(grown, pod)


def _added(grown: Sequence[tuple[Series, float]], pod: str) -> Counted | Problem:
    """Add the growth of all series of a pod up."""
    at_most: dict[float, float] = {}
    for series, n in grown:
        if series.le is not None:
            at_most[series.le] = at_most.get(series.le, 0.0) + n
    if not at_most:
        return Counted(sum(n for _, n in grown), sum(n for it, n in grown if it.bad))
    rising = [at_most[le] for le in sorted(at_most)]
    if any(more < less for less, more in pairwise(rising)):
        message = f"the histogram of pod {pod} grew less at one boundary than at a lower one"
        return Problem(Trouble.MALFORMED, message)
    return Counted(at_most[math.inf], at_most=at_most)


def restarted_between(name: str, earlier: PodReadings, now: PodReadings) -> bool:
    """Whether a container of the pod began anew between two readings.

    A reading that is older than its round may be from before a restart that the round knew of.
    """
    first = earlier.readings[name]
    taken_at = first.taken_at if isinstance(first, Reading) else None
    # Kubernetes tells whole seconds.
    since = taken_at is not None and now.pod.started_at + 1 > taken_at
    past = earlier.pod
    return since or now.pod.restarts > past.restarts or now.pod.started_at > past.started_at
