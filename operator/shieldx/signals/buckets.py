"""Closed buckets: what happened in both arms between two rounds of reading, and nothing else.

Deltas are taken from raw counters of each pod, never from rates, which extrapolate. A bucket
exists only if its beginning and its end were both seen: after a restart of the operator, or a
late round, the buckets in between are skipped, not guessed. Nor is an arm judged by a part of it:
a ready pod that could not be read may be the one that fails.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from shieldx.signals.readings import PodReadings, Problem, Reading, Scrape, Trouble

# A round that begins later than this share of a bucket after its boundary is none.
_LATE: Final = 0.25
# Nor is a round put off for longer than this, in seconds, for the sake of what may still come.
_LONGEST_WAIT: Final = 10.0
# Without a closed bucket for so many lengths, what is known is old.
_STALE_BUCKETS: Final = 3.0


class EvidenceState(StrEnum):
    """What a bucket, or the present, is good for; only the last may change anything."""

    INSUFFICIENT = "Insufficient"
    STALE = "Stale"
    PROVIDER_ERROR = "ProviderError"
    SUFFICIENT = "Sufficient"


class EvidenceReason(StrEnum):
    """Why."""

    COLLECTING = "Collecting"
    NO_PODS = "NoPods"
    NO_TRAFFIC = "NoTraffic"
    NOT_SCRAPED = "NotScraped"
    NO_SERIES = "NoSeries"
    NO_LABEL = "NoLabel"
    AMBIGUOUS = "Ambiguous"
    MALFORMED = "Malformed"
    TOO_OLD = "TooOld"
    COUNTED = "Counted"


type Why = tuple[EvidenceState, EvidenceReason, str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A state, why, and what to say to people."""

    state: EvidenceState
    reason: EvidenceReason
    message: str


@dataclass(frozen=True, slots=True)
class MetricBucket:
    """Counts of one metric in one bucket; by pod as {uid: (n, bad)}.

    `counts` is (n champion, bad champion, n challenger, bad challenger), None if an arm has none.
    `challenger_lost`: a pod of the challenger took counts with it, or did not answer. What was
    counted can then prove harm and not safety.
    """

    champion: Mapping[str, tuple[float, float]]
    challenger: Mapping[str, tuple[float, float]]
    counts: tuple[float, float, float, float] | None
    state: EvidenceState
    reason: EvidenceReason
    message: str
    challenger_lost: bool = False


@dataclass(frozen=True, slots=True)
class Bucket:
    """The same window for both arms; times in seconds since 1970.

    `start` is when the oldest count began: where pods are asked by somebody else, before `end`
    less the length.
    """

    start: float
    end: float
    metrics: Mapping[str, MetricBucket]
    restarts: tuple[int, int, int, int]

    @property
    def challenger_restarted(self) -> bool:
        """Whether failures of the challenger may be missing: it died, went or fell silent."""
        lost = any(metric.challenger_lost for metric in self.metrics.values())
        return self.restarts[3] > 0 or lost

    @property
    def state(self) -> EvidenceState:
        return self._worst().state

    @property
    def reason(self) -> EvidenceReason:
        return self._worst().reason

    @property
    def message(self) -> str:
        return self._worst().message

    def _worst(self) -> MetricBucket:
        order = list(EvidenceState)
        unfit = [m for m in self.metrics.values() if m.state is not EvidenceState.SUFFICIENT]
        return max(unfit or self.metrics.values(), key=lambda m: order.index(m.state))


class Recorder:
    """Turns rounds of reading into buckets, in memory, for one experiment."""

    __slots__ = ("_bucket", "_closed", "_last", "_last_bucket", "_names")

    def __init__(self, names: Sequence[str], bucket_seconds: float) -> None:
        self._names = tuple(names)
        self._bucket = bucket_seconds
        self._last: tuple[float, Scrape] | None = None
        self._last_bucket: Bucket | None = None
        self._closed: list[Bucket] = []

    def boundary(self, now: float) -> float:
        """Return the newest boundary between buckets."""
        return math.floor(now / self._bucket) * self._bucket

    def may_wait_until(self, then: float) -> bool:
        """Whether a round at `then` still ends the bucket that is due, and is not put off long."""
        late = then - self.boundary(then)
        return late <= min(_LATE * self._bucket, _LONGEST_WAIT)

    def next_scrape_at(self, now: float) -> float:
        """Return the boundary at which the next round is due: `now` itself if one is."""
        boundary = self.boundary(now)
        seen = self._last is not None and self._last[0] >= boundary
        if not seen and now - boundary <= _LATE * self._bucket:
            return now
        return boundary + self._bucket

    def add(self, scrape: Scrape, at: float) -> None:
        """Take a round that began at `at`, and close the bucket that it ends, if it does."""
        boundary = self.boundary(at)
        if at - boundary > _LATE * self._bucket:
            return
        if self._last is not None and self._last[0] == boundary:
            return  # The bucket that begins here began with the first of the two rounds.
        before, self._last = self._last, (boundary, scrape)
        if before is None or not math.isclose(boundary - before[0], self._bucket):
            return
        self._last_bucket = _close(self._names, before[0], boundary, before[1], scrape)
        self._closed.append(self._last_bucket)

    def closed(self) -> list[Bucket]:
        """Return the buckets closed since the last call, in order."""
        closed, self._closed = self._closed, []
        return closed

    def evidence(self, now: float) -> Evidence:
        """Return what is known at present."""
        last = self._last_bucket
        if last is None:
            return Evidence(
                EvidenceState.INSUFFICIENT, EvidenceReason.COLLECTING, "no bucket has closed yet"
            )
        if now - last.end > _STALE_BUCKETS * self._bucket:
            return Evidence(
                EvidenceState.STALE,
                EvidenceReason.TOO_OLD,
                f"no bucket has closed since {datetime.fromtimestamp(last.end, UTC):%H:%M:%S} UTC",
            )
        return Evidence(last.state, last.reason, last.message)


def _close(names: Sequence[str], start: float, end: float, before: Scrape, after: Scrape) -> Bucket:
    metrics = {name: _metric(name, start, before, after) for name in names}
    champion = _restarts(start, before.champion, after.champion)
    challenger = _restarts(start, before.challenger, after.challenger)
    return Bucket(_beginning(start, before), end, metrics, (*champion, *challenger))


def _beginning(start: float, before: Scrape) -> float:
    """Return when the oldest of the first readings was taken."""
    pods = (*before.champion.values(), *before.challenger.values())
    readings = (value for pod in pods for value in pod.readings.values())
    taken = (it.taken_at for it in readings if isinstance(it, Reading))
    return min([start, *(at for at in taken if at is not None)])


def _metric(name: str, start: float, before: Scrape, after: Scrape) -> MetricBucket:
    champion = _arm("champion", name, start, before.champion, after.champion)
    challenger = _arm("challenger", name, start, before.challenger, after.challenger)
    for problem in (*champion.problems, *challenger.problems):
        if problem.trouble is not Trouble.NOT_SCRAPED:
            return MetricBucket({}, {}, None, *_blind(problem), challenger_lost=True)
    # A champion without its worst pod would look better than it is, and harm would be invented.
    # Without one of its own pods the challenger can only be worse than what was counted.
    unread = next(iter(champion.problems), None)
    lacking = (_blind(unread) if unread else champion.lacking) or challenger.lacking
    counts = None if lacking else (*_sum(champion.counts), *_sum(challenger.counts))
    if lacking is None and challenger.problems:
        lacking = _blind(challenger.problems[0])
    return MetricBucket(
        champion.counts,
        challenger.counts,
        counts,
        *(lacking or _counted(*_sum(champion.counts), *_sum(challenger.counts))),
        challenger_lost=challenger.lost,
    )


def _blind(problem: Problem) -> Why:
    return EvidenceState.PROVIDER_ERROR, EvidenceReason(problem.trouble), problem.message


def _counted(n_champion: float, _bad: float, n_challenger: float, _worse: float) -> Why:
    message = f"{n_champion:.0f} requests to the champion, {n_challenger:.0f} to the challenger"
    return EvidenceState.SUFFICIENT, EvidenceReason.COUNTED, message


@dataclass(frozen=True, slots=True)
class _Arm:
    """One arm in one bucket: counts of pods seen whole, faults of pods that serve, the rest.

    `lost`: what a pod counted is missing. `lacking`: why the arm has no counts, if it has none.
    """

    counts: Mapping[str, tuple[float, float]]
    problems: Sequence[Problem]
    lost: bool
    lacking: Why | None


def _arm(
    arm: str,
    name: str,
    start: float,
    before: Mapping[str, PodReadings],
    after: Mapping[str, PodReadings],
) -> _Arm:
    counts: dict[str, tuple[float, float]] = {}
    problems: list[Problem] = []
    shown = False
    lost = any(uid not in after for uid, earlier in before.items() if earlier.pod.ready)
    for uid, now in after.items():
        earlier = before.get(uid)
        last = now.readings[name]
        shown = shown or (isinstance(last, Reading) and bool(last.series))
        delta = _pod(name, start, earlier, now)
        if not isinstance(delta, Problem):
            counts[uid] = delta
            lost = lost or (earlier is not None and _restarted(name, earlier, now))
        elif delta.trouble is not Trouble.NOT_SCRAPED:
            problems.append(delta)
        elif now.pod.ready or (earlier is not None and earlier.pod.ready):
            lost = True
            if delta is not _UNKNOWN_PAST:
                problems.append(delta)
    lacking = None
    if _sum(counts)[0] == 0:
        lacking = _lacking(arm, name, after, counts, problems, shown=shown)
    return _Arm(counts, problems, lost, lacking)


def _lacking(
    arm: str,
    name: str,
    pods: Mapping[str, PodReadings],
    counts: Mapping[str, tuple[float, float]],
    problems: Sequence[Problem],
    *,
    shown: bool,
) -> Why:
    """Return why an arm has no counts."""
    if problems:
        return _blind(problems[0])
    if not any(it.pod.ready for it in pods.values()):
        return EvidenceState.INSUFFICIENT, EvidenceReason.NO_PODS, f"the {arm} has no ready pod"
    if not counts:
        message = f"the {arm}'s pods were first seen in this bucket"
        return EvidenceState.INSUFFICIENT, EvidenceReason.COLLECTING, message
    if not shown:
        message = f"no pod of the {arm} shows the counter of {name}: wrong name, or no request yet"
        return EvidenceState.INSUFFICIENT, EvidenceReason.NO_SERIES, message
    return EvidenceState.INSUFFICIENT, EvidenceReason.NO_TRAFFIC, f"the {arm} got no request"


_UNKNOWN_PAST: Final = Problem(Trouble.NOT_SCRAPED, "its counts before the bucket are not known")
_NOTHING_YET: Final = Reading({})


def _pod(
    name: str, start: float, earlier: PodReadings | None, now: PodReadings
) -> tuple[float, float] | Problem:
    """Return what a pod counted in the window, if it was seen whole."""
    last = now.readings[name]
    if isinstance(last, Problem):
        return last
    if earlier is None:
        if now.pod.started_at < start:
            return _UNKNOWN_PAST
        # New in this window: all that it counted is of it.
        return _delta(_NOTHING_YET, last, restarted=False, pod=now.pod.name)
    first = earlier.readings[name]
    if isinstance(first, Problem):
        silent = first.trouble is Trouble.NOT_SCRAPED
        return _UNKNOWN_PAST if silent and not earlier.pod.ready else first
    return _delta(first, last, restarted=_restarted(name, earlier, now), pod=now.pod.name)


def _delta(
    first: Reading,
    last: Reading,
    *,
    restarted: bool,
    pod: str,
) -> tuple[float, float] | Problem:
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
        (series.value - (before[key].value if key in before else 0.0), series.bad)
        for key, series in after.items()
    ]
    return sum(n for n, _ in grown), sum(n for n, bad in grown if bad)


def _restarted(name: str, earlier: PodReadings, now: PodReadings) -> bool:
    """Whether a container of the pod began anew between two readings.

    A reading that is older than its round may be from before a restart that the round knew of.
    """
    first = earlier.readings[name]
    taken_at = first.taken_at if isinstance(first, Reading) else None
    # Kubernetes tells whole seconds.
    since = taken_at is not None and now.pod.started_at + 1 > taken_at
    past = earlier.pod
    return since or now.pod.restarts > past.restarts or now.pod.started_at > past.started_at


def _restarts(
    start: float, before: Mapping[str, PodReadings], after: Mapping[str, PodReadings]
) -> tuple[int, int]:
    """Return pods of an arm, and how many of them restarted in the window."""
    restarted = sum(
        now.pod.restarts > before[uid].pod.restarts
        if uid in before
        else now.pod.restarts > 0 and now.pod.started_at >= start
        for uid, now in after.items()
    )
    return len(after), restarted


def _sum(pods: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    return sum(n for n, _ in pods.values()), sum(bad for _, bad in pods.values())
