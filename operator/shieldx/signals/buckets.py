"""Closed buckets: what happened in both arms between two rounds of reading, and nothing else.

Deltas are taken from raw counters of each pod, never from rates, which extrapolate. A bucket
exists only if its beginning and its end were both seen: after a restart of the operator, or a
late round, the buckets in between are skipped, not guessed. Nor is an arm judged by a part of it:
a ready pod that could not be read may be the one that fails.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from shieldx.signals.arms import Arm, arm_between, blind
from shieldx.signals.counts import Window, remembering
from shieldx.signals.readings import Pod, PodReadings, Problem, Reading, Scrape, Trouble
from shieldx.signals.states import Evidence, EvidenceReason, EvidenceState, Why
from shieldx.stats import boundary_name

# A round that begins later than this share of a bucket after its boundary is none.
_LATE: Final = 0.25
# Nor is a round put off for longer than this, in seconds, for the sake of what may still come.
_LONGEST_WAIT: Final = 10.0
# No pod counts more a second, whatever it counts; a counter that was overwritten does.
MOST_PER_SECOND: Final = 1e8
# Without a closed bucket for so many lengths, what is known is old.
_STALE_BUCKETS: Final = 3.0


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

    `metrics` are by name of the guardrail; of a histogram there is one a boundary besides, in
    which the slower requests are the bad ones, under the name that `boundary_name` gives.
    `start` is when the oldest count began: where pods are asked by somebody else, before `end`
    less the length. `joined`: when the newest of the challenger's pods began, or began anew.
    """

    start: float
    end: float
    metrics: Mapping[str, MetricBucket]
    restarts: tuple[int, int, int, int]
    joined: float = -math.inf

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
        before, self._last = self._last, (boundary, self._remembering(scrape, boundary))
        if before is None or not math.isclose(boundary - before[0], self._bucket):
            return
        self._last_bucket = _close(self._names, before[0], boundary, before[1], scrape)
        self._closed.append(self._last_bucket)

    def _remembering(self, scrape: Scrape, at: float) -> Scrape:
        """Return the round with what of earlier ones is no longer shown, and may come back."""
        if self._last is None:
            return scrape
        begin, earlier = self._last
        for name in self._names:
            champion, challenger = (
                {
                    uid: remembering(name, (begin, at), before.get(uid), now)
                    for uid, now in arm.items()
                }
                for before, arm in (
                    (earlier.champion, scrape.champion),
                    (earlier.challenger, scrape.challenger),
                )
            )
            scrape = replace(scrape, champion=champion, challenger=challenger)
        return scrape

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
    metrics: dict[str, MetricBucket] = {}
    pods = {uid: it.pod for arm in (after.champion, after.challenger) for uid, it in arm.items()}
    for name in names:
        found = _metrics(name, (start, end), before, after)
        metrics |= {each: _plausible(it, end - start, pods) for each, it in found.items()}
    champion = _restarts(start, before.champion, after.champion)
    challenger = _restarts(start, before.challenger, after.challenger)
    # What is later than the end is of a node whose clock is ahead.
    starts = (it.pod.started_at for it in after.challenger.values())
    joined = max((at for at in starts if at <= end), default=-math.inf)
    return Bucket(_beginning(start, before), end, metrics, (*champion, *challenger), joined)


def _plausible(metric: MetricBucket, seconds: float, pods: Mapping[str, Pod]) -> MetricBucket:
    """Return the metric, or none where a pod claims what no pod can have done."""
    for uid, (n, _) in (*metric.champion.items(), *metric.challenger.items()):
        if n > MOST_PER_SECOND * seconds:
            message = f"pod {pods[uid].name} counted {n:.3g} events in {seconds:.0f} s"
            problem = Problem(Trouble.MALFORMED, f"{message}, more than a pod can have served")
            return MetricBucket({}, {}, None, *blind(problem), challenger_lost=True)
    return metric


def _beginning(start: float, before: Scrape) -> float:
    """Return when the oldest of the first readings was taken."""
    pods = (*before.champion.values(), *before.challenger.values())
    readings = (value for pod in pods for value in pod.readings.values())
    taken = (it.taken_at for it in readings if isinstance(it, Reading))
    return min([start, *(at for at in taken if at is not None)])


def _metrics(name: str, window: Window, before: Scrape, after: Scrape) -> dict[str, MetricBucket]:
    champion = arm_between("champion", name, window, before.champion, after.champion)
    challenger = arm_between("challenger", name, window, before.challenger, after.challenger)
    for problem in (*champion.problems, *challenger.problems):
        if problem.trouble is not Trouble.NOT_SCRAPED:
            return {name: MetricBucket({}, {}, None, *blind(problem), challenger_lost=True)}
    boundaries = champion.boundaries
    if not boundaries <= challenger.boundaries and challenger.boundaries:
        problem = Problem(
            Trouble.MALFORMED,
            f"the histograms of {name} have other boundaries in the challenger than in the "
            "champion, so they cannot be compared: change boundaries in a release of their own",
        )
        return {name: MetricBucket({}, {}, None, *blind(problem), challenger_lost=True)}
    whole = _compared(champion, challenger)
    slower = {
        boundary_name(name, le): _compared(champion.slower_than(le), challenger.slower_than(le))
        for le in sorted(boundaries)
    }
    return {name: whole, **slower}


def _compared(champion: Arm, challenger: Arm) -> MetricBucket:
    # A champion without its worst pod would look better than it is, and harm would be invented.
    # Without one of its own pods the challenger can only be worse than what was counted.
    unread = next(iter(champion.problems), None)
    lacking = (blind(unread) if unread else champion.lacking) or challenger.lacking
    champions, challengers = champion.pods, challenger.pods
    counts = None if lacking else (*_sum(champions), *_sum(challengers))
    if lacking is None and challenger.problems:
        lacking = blind(challenger.problems[0])
    return MetricBucket(
        champions,
        challengers,
        counts,
        *(lacking or _counted(*_sum(champions), *_sum(challengers))),
        challenger_lost=challenger.lost,
    )


def _counted(n_champion: float, _bad: float, n_challenger: float, _worse: float) -> Why:
    message = f"{n_champion:.0f} requests to the champion, {n_challenger:.0f} to the challenger"
    return EvidenceState.SUFFICIENT, EvidenceReason.COUNTED, message


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
