"""Closed buckets: what happened in both arms between two rounds of reading, and nothing else.

Deltas are taken from raw counters of each pod, never from rates, which extrapolate. A bucket
exists only if its beginning and its end were both seen: after a restart of the operator, or a
late round, the buckets in between are skipped, not guessed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shieldx.signals.readings import Pod, PodReadings, Problem, Reading, Scrape, Trouble

# A round that begins later than this share of a bucket after its boundary is none.
_LATE: Final = 0.25
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
    if _sum(counted)[0] > 0:
        return None
    if not pods:
        return EvidenceState.INSUFFICIENT, EvidenceReason.NO_PODS, f"the {arm} has no pod"
    if not counted and missed:
        reason = EvidenceReason(missed[0].trouble)
        return EvidenceState.PROVIDER_ERROR, reason, missed[0].message
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
        value = now.readings[name]
        if isinstance(value, Problem):
            problems.append(value)
            continue
        earlier = before.get(uid)
        if earlier is None:
            if now.pod.started_at >= start:  # New in this window: all that it counted is of it.
                counts[uid] = (value.total, value.bad)
            continue
        past = earlier.readings[name]
        if isinstance(past, Problem):
            problems.append(past)
            continue
        counts[uid] = _delta(past, value, reset=_restarted(earlier.pod, now.pod))
    return counts, problems


def _delta(past: Reading, value: Reading, *, reset: bool) -> tuple[float, float]:
    """Return what was counted between two readings; after a reset, all that is there."""
    total, bad = value.total - past.total, value.bad - past.bad
    if reset or total < 0 or bad < 0 or bad > total:
        return value.total, value.bad
    return total, bad


def _restarted(past: Pod, now: Pod) -> bool:
    return now.restarts > past.restarts or now.started_at > past.started_at


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
