"""Closed buckets: what happened in both arms between two rounds of reading, and nothing else.

Deltas are taken from raw counters of each pod, never from rates, which extrapolate. A bucket
exists only if its beginning and its end were both seen: after a restart of the operator, or a
late round, the buckets in between are skipped, not guessed. Nor is an arm judged by a part of it:
a ready pod that could not be read may be the one that fails.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shieldx.signals.readings import Pod, PodReadings, Problem, Reading, Scrape, Trouble

# A round that begins later than this share of a bucket after its boundary is none.
_LATE: Final = 0.25
# Kubernetes gives the start of a container in whole seconds.
_START_PRECISION: Final = 1.0
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
    MALFORMED = "Malformed"
    TOO_OLD = "TooOld"
    COUNTED = "Counted"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A state, why, and what to say to people."""

    state: EvidenceState
    reason: EvidenceReason
    message: str


@dataclass(frozen=True, slots=True)
class MetricBucket:
    """Counts of one metric in one bucket; by pod as {uid: (n, bad)}.

    `counts` is (n champion, bad champion, n challenger, bad challenger), None if not Sufficient.
    """

    champion: Mapping[str, tuple[float, float]]
    challenger: Mapping[str, tuple[float, float]]
    counts: tuple[float, float, float, float] | None
    state: EvidenceState
    reason: EvidenceReason
    message: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """The same window for both arms; times in seconds since 1970."""

    start: float
    end: float
    metrics: Mapping[str, MetricBucket]
    restarts: tuple[int, int, int, int]

    @property
    def challenger_restarted(self) -> bool:
        return self.restarts[3] > 0

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
        uncounted = [metric for metric in self.metrics.values() if metric.counts is None]
        return max(uncounted or self.metrics.values(), key=lambda m: order.index(m.state))


class Recorder:
    """Turns rounds of reading into buckets, in memory, for one experiment."""

    __slots__ = ("_began", "_bucket", "_closed", "_last", "_last_bucket", "_names")

    def __init__(self, names: Sequence[str], bucket_seconds: float) -> None:
        self._names = tuple(names)
        self._bucket = bucket_seconds
        self._last: tuple[float, Scrape] | None = None
        self._last_bucket: Bucket | None = None
        self._closed: list[Bucket] = []
        self._began: float | None = None

    def next_scrape_at(self, now: float) -> float:
        """Return the boundary at which the next round is due: `now` itself if one is."""
        boundary = math.floor(now / self._bucket) * self._bucket
        seen = self._last is not None and self._last[0] >= boundary
        if not seen and now - boundary <= _LATE * self._bucket:
            return now
        return boundary + self._bucket

    def add(self, scrape: Scrape, at: float) -> None:
        """Take a round that began at `at`, and close the bucket that it ends, if it does."""
        self._began = self._began or at
        boundary = math.floor(at / self._bucket) * self._bucket
        if at - boundary > _LATE * self._bucket:
            return
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
                f"the last bucket closed {now - last.end:.0f} s ago",
            )
        return Evidence(last.state, last.reason, last.message)


def _close(names: Sequence[str], start: float, end: float, before: Scrape, after: Scrape) -> Bucket:
    metrics = {name: _metric(name, start, before, after) for name in names}
    champion = _restarts(start, before.champion, after.champion)
    challenger = _restarts(start, before.challenger, after.challenger)
    return Bucket(start, end, metrics, (*champion, *challenger))


def _metric(name: str, start: float, before: Scrape, after: Scrape) -> MetricBucket:
    champion, lost = _deltas(name, start, before.champion, after.champion)
    challenger, lost_too = _deltas(name, start, before.challenger, after.challenger)
    problems = [*lost, *lost_too]
    malformed = next((p for p in problems if p.trouble is Trouble.MALFORMED), None)
    if malformed is not None:
        return MetricBucket(
            champion,
            challenger,
            None,
            EvidenceState.PROVIDER_ERROR,
            EvidenceReason.MALFORMED,
            malformed.message,
        )
    for arm, pods, counted, missed in (
        ("champion", after.champion, champion, lost),
        ("challenger", after.challenger, challenger, lost_too),
    ):
        verdict = _arm(arm, pods, counted, missed)
        if verdict is not None:
            return MetricBucket(champion, challenger, None, *verdict)
    counts = (*_sum(champion), *_sum(challenger))
    message = f"{counts[0]:.0f} requests to the champion, {counts[2]:.0f} to the challenger"
    return MetricBucket(
        champion,
        challenger,
        counts,
        EvidenceState.SUFFICIENT,
        EvidenceReason.COUNTED,
        message,
    )


def _arm(
    arm: str,
    pods: Mapping[str, PodReadings],
    counted: Mapping[str, tuple[float, float]],
    missed: Sequence[Problem],
) -> tuple[EvidenceState, EvidenceReason, str] | None:
    """Return why an arm has no counts, or None if it has."""
    if not pods:
        return EvidenceState.INSUFFICIENT, EvidenceReason.NO_PODS, f"the {arm} has no pod"
    if missed:
        reason = EvidenceReason(missed[0].trouble)
        return EvidenceState.PROVIDER_ERROR, reason, missed[0].message
    if _sum(counted)[0] > 0:
        return None
    return EvidenceState.INSUFFICIENT, EvidenceReason.NO_TRAFFIC, f"the {arm} got no request"


def _deltas(
    name: str,
    start: float,
    before: Mapping[str, PodReadings],
    after: Mapping[str, PodReadings],
) -> tuple[dict[str, tuple[float, float]], list[Problem]]:
    """Return the counts of each pod whose window was seen whole, and the problems of others."""
    counts: dict[str, tuple[float, float]] = {}
    problems: list[Problem] = []
    for uid, now in after.items():
        delta = _pod_delta(name, start, before.get(uid), now)
        if isinstance(delta, Problem):
            problems.append(delta)
        elif delta is not None:
            counts[uid] = delta
    if counts:  # What others of the arm have counted, a pod without that series has not yet.
        problems = [each for each in problems if each.trouble is not Trouble.NO_SERIES]
    return counts, problems


def _pod_delta(
    name: str, start: float, before: PodReadings | None, now: PodReadings
) -> tuple[float, float] | Problem | None:
    """Return what a pod counted in the window, why that is unknown, or None if it is left out."""
    value = now.readings[name]
    past = None if before is None else before.readings[name]
    new = now.pod.started_at >= start
    if isinstance(value, Problem):
        if value.trouble is Trouble.NO_SERIES and isinstance(past, Reading) and not new:
            return Problem(Trouble.MALFORMED, f"{value.message} any more")
        return _unless_unused(value, now.pod)
    # In a new pod, and in one that answered without this series, all is of this window.
    if new or (isinstance(past, Problem) and past.trouble is Trouble.NO_SERIES):
        return value.total, value.bad
    if before is None or past is None:
        return None
    if isinstance(past, Problem):
        return _unless_unused(past, before.pod)
    reset = _restarted(before.pod, now.pod, start) or value.total < past.total
    return _delta(past, value, now.pod, reset=reset)


def _unless_unused(problem: Problem, pod: Pod) -> Problem | None:
    """Return the problem, unless the pod is not ready: it gets no requests and need not answer."""
    unused = problem.trouble is Trouble.NOT_SCRAPED and not pod.ready
    return None if unused else problem


def _delta(
    past: Reading, value: Reading, pod: Pod, *, reset: bool
) -> tuple[float, float] | Problem:
    """Return what was counted between two readings; after a reset, all that is there."""
    if reset:
        return value.total, value.bad
    total, bad = value.total - past.total, value.bad - past.bad
    if not 0 <= bad <= total:
        return Problem(
            Trouble.MALFORMED,
            f"pod {pod.name}: {bad:.0f} more bad of {total:.0f} more requests cannot be;"
            " a series has gone or went backwards",
        )
    return total, bad


def _restarted(past: Pod, now: Pod, start: float) -> bool:
    """Whether a container started anew since; the news of an older restart may come late."""
    changed = now.restarts > past.restarts or now.started_at > past.started_at
    return changed and now.started_at > start - _START_PRECISION


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
