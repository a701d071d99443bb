"""What one pod counted between two readings; pure.

Counters restart with their process, series come and go, and a pod may have a past that nobody
saw. What cannot be told from the two readings is a problem, never a number.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from shieldx.signals.readings import PodReadings, Problem, Reading, Series, Trouble

# When the two rounds of a bucket were, in seconds since 1970.
type Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Counted:
    """What one pod counted: events, bad ones, and of a histogram those at most at each `le`."""

    n: float = 0.0
    bad: float = 0.0
    at_most: Mapping[float, float] = field(default_factory=dict)


UNKNOWN_PAST: Final = Problem(Trouble.NOT_SCRAPED, "its counts before the bucket are not known")
_NOTHING_YET: Final = Reading({})
# Series of one pod that are gone and remembered: labels that change for ever fill no memory.
MOST_GONE: Final = 2000
# Of two counters one may be a little ahead of the other at the moment of a reading.
FEW_MORE: Final = 10
# So many rounds without a fall are believed again: something inside the pod had died, and no more.
DOUBTED_ROUNDS: Final = 10


def counted_between(
    name: str, window: Window, earlier: PodReadings | None, now: PodReadings
) -> Counted | Problem:
    """Return what a pod counted in the window, if it was seen whole."""
    last = now.readings[name]
    if isinstance(last, Problem):
        return last
    if earlier is None:
        if now.pod.started_at < window[0]:
            return UNKNOWN_PAST
        # New in this window: all that it counted is of it.
        return _delta(_NOTHING_YET, last, restarted=False, pod=now.pod.name)
    first = earlier.readings[name]
    if isinstance(first, Problem):
        silent = first.trouble is Trouble.NOT_SCRAPED
        return UNKNOWN_PAST if silent and not earlier.pod.ready else first
    return _delta(
        first, last, restarted=restarted_between(name, window, earlier, now), pod=now.pod.name
    )


def _delta(
    first: Reading,
    last: Reading,
    *,
    restarted: bool,
    pod: str,
) -> Counted | Problem:
    """Return what was counted between two readings of a pod.

    With a restart, if series fell or went, the process began anew and all that is there is new. A
    restart alone proves nothing: it may have been another container, and to take the whole past for
    a bucket is far worse than to miss a little. Without one nothing can fall: something inside the
    pod has died with its counts, or several processes answer in turn, each with its own. A series
    that goes (a label that is no longer used) is no reset, and what it had come to is remembered.
    """
    fell = _fell(first, last)
    if not restarted and (fell or first.doubted):
        message = (
            f"pod {pod} did not restart, and its series have gone or went backwards: if several "
            "processes count in it, they must show one sum"
        )
        return Problem(Trouble.MALFORMED, message)
    begun_anew = fell or (restarted and not first.series.keys() <= last.series.keys())
    past = _NOTHING_YET if begun_anew else first
    grown = [
        (series, series.value - _come_to(past, key, series.value))
        for key, series in last.series.items()
    ]
    return _added(grown, pod)


def _fell(first: Reading, last: Reading) -> bool:
    """Whether anything is less than before, or nothing is left."""
    before, after = first.series, last.series
    if before and not after:
        return True
    return any(series.value < before[key].value for key, series in after.items() if key in before)


def _come_to(past: Reading, key: str, now: float) -> float:
    """Return what a series had come to; one that was gone and is lower now has begun anew."""
    series = past.series.get(key)
    before = past.gone.get(key, 0.0) if series is None else series.value
    return before if before <= now else 0.0


def _added(grown: Sequence[tuple[Series, float]], pod: str) -> Counted | Problem:
    """Add the growth of all series of a pod up."""
    at_most: dict[float, float] = {}
    for series, n in grown:
        if series.le is not None:
            at_most[series.le] = at_most.get(series.le, 0.0) + n
    if not at_most:
        n = sum(n for it, n in grown if not it.again)
        bad = sum(n for it, n in grown if it.bad)
        if bad - n > max(FEW_MORE, n / 10):
            message = f"pod {pod} counted {bad:.0f} bad events of {n:.0f}: of must count them all"
            return Problem(Trouble.MALFORMED, message)
        return Counted(n, min(bad, n))
    rising = [at_most[le] for le in sorted(at_most)]
    if any(more < less for less, more in pairwise(rising)):
        message = f"the histogram of pod {pod} grew less at one boundary than at a lower one"
        return Problem(Trouble.MALFORMED, message)
    return Counted(at_most[math.inf], at_most=at_most)


def remembering(
    name: str, window: Window, earlier: PodReadings | None, now: PodReadings
) -> PodReadings:
    """Return what a pod shows now, with what is still to be known of the rounds before.

    A series that is gone may be there again in a later round, and what it had counted before is
    then not new. Processes that answer in turn go up again after they went down, and that is not
    growth.
    """
    if earlier is None or restarted_between(name, window, earlier, now):
        return now
    first, last = earlier.readings[name], now.readings[name]
    known = first.gone
    if isinstance(first, Reading):
        known = {**known, **{key: series.value for key, series in first.series.items()}}
    doubted = first.doubted
    if isinstance(last, Reading):
        known = {key: value for key, value in known.items() if key not in last.series}
        doubted = max(doubted - 1, 0)
        if isinstance(first, Reading) and _fell(first, last):
            doubted = DOUBTED_ROUNDS
    if not known and not doubted:
        return now
    newest = dict(list(known.items())[-MOST_GONE:])
    remembered = replace(last, gone=newest, doubted=doubted)
    return replace(now, readings={**now.readings, name: remembered})


def restarted_between(name: str, window: Window, earlier: PodReadings, now: PodReadings) -> bool:
    """Whether a container of the pod began anew after the earlier reading, of the first round.

    A reading may be from before a restart that its own round already knew of. Where nobody knows of
    restarts, counts that fell tell of one.
    """
    first, last = earlier.readings[name], now.readings[name]
    if not now.pod.watched:
        return isinstance(first, Reading) and isinstance(last, Reading) and _fell(first, last)
    taken_at = first.taken_at if isinstance(first, Reading) else None
    begin, end = window
    # Kubernetes tells whole seconds; what is later than the end is of a node whose clock is ahead.
    since = (begin if taken_at is None else taken_at) < now.pod.started_at + 1 <= end + 1
    past = earlier.pod
    return since or now.pod.restarts > past.restarts or now.pod.started_at > past.started_at
