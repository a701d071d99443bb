"""The champion's past before the challenger got traffic: what is normal, and how it scatters.

Thousands of experiments are idle at any time and each remembers an hour, so the past is kept as
running sums with a few marks to subtract, not as buckets.
"""

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shieldx.signals.buckets import Bucket
from shieldx.stats import Dispersion, named_under

LONGEST_SECONDS: Final = 3600.0
FEWEST_BUCKETS: Final = 10
FEWEST_REQUESTS: Final = 100
_MARK_SECONDS: Final = 300.0
# A histogram has a dozen boundaries, and each a past.
_BOUNDARY_MARK_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class _Mark:
    """The running sums as they were at `end`."""

    end: float
    buckets: int
    total: float
    bad: float
    dispersion: "array[float]"


class _Past:
    """The past of one metric: sums since the beginning, and marks from the last hour."""

    __slots__ = ("_bad", "_buckets", "_dispersion", "_mark_seconds", "_marks", "_total")

    def __init__(self, mark_seconds: float = _MARK_SECONDS) -> None:
        self._mark_seconds = mark_seconds
        self._buckets = 0
        self._total = self._bad = 0.0
        self._dispersion = Dispersion()
        self._marks: deque[_Mark] = deque()

    def add(self, start: float, end: float, pods: Mapping[str, tuple[float, float]]) -> None:
        if not self._marks or start - self._marks[-1].end >= self._mark_seconds:
            self._marks.append(self._mark(start))
        while self._marks[0].end < end - LONGEST_SECONDS and len(self._marks) > 1:
            self._marks.popleft()
        self._buckets += 1
        self._total += sum(n for n, _ in pods.values())
        self._bad += sum(bad for _, bad in pods.values())
        self._dispersion.add(champion=pods, challenger={})

    def lately(self) -> _Mark:
        """Return what was added since the oldest mark."""
        now, then = self._mark(0.0), self._marks[0] if self._marks else self._mark(0.0)
        return _Mark(
            end=now.end,
            buckets=now.buckets - then.buckets,
            total=now.total - then.total,
            bad=now.bad - then.bad,
            dispersion=array(
                "d",
                (
                    max(this - that, 0.0)
                    for this, that in zip(now.dispersion, then.dispersion, strict=True)
                ),
            ),
        )

    def _mark(self, end: float) -> _Mark:
        numbers = array("d", self._dispersion.dump())
        return _Mark(end, self._buckets, self._total, self._bad, numbers)


class Baseline:
    """Remembers up to an hour of buckets in which only the champion had traffic.

    Metrics are by name of the guardrail; of a histogram also by that of each boundary, as it has
    them lately.
    """

    __slots__ = ("_names", "_pasts")

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._pasts = {name: _Past() for name in names}

    def add(self, bucket: Bucket) -> None:
        """Remember a bucket, and forget what is more than an hour older."""
        for name in self._names:
            boundaries = named_under(name, bucket.metrics)
            if boundaries and boundaries != named_under(name, self._pasts):
                # Another version may have another set: what is known of the old one is over.
                self._pasts = {
                    k: v for k, v in self._pasts.items() if k not in named_under(name, self._pasts)
                }
                self._pasts |= {it: _Past(_BOUNDARY_MARK_SECONDS) for it in boundaries}
        for name, past in self._pasts.items():
            if name in bucket.metrics and (pods := bucket.metrics[name].champion):
                past.add(bucket.start, bucket.end, pods)

    def base_rate(self, name: str, default: float) -> float:
        """Return (bad + ½) / (n + 1) of the champion, or `default` from fewer than 10 buckets."""
        lately = self._pasts[name].lately()
        if lately.buckets < FEWEST_BUCKETS:
            return default
        return (lately.bad + 0.5) / (lately.total + 1)

    def slower(self, name: str) -> dict[str, float]:
        """Return the share of the champion's requests that are slower than each boundary.

        Nothing from fewer than 100 requests: where its quantile is would be a guess.
        """
        lately = {each: self._pasts[each].lately() for each in named_under(name, self._pasts)}
        if any(past.total < FEWEST_REQUESTS for past in lately.values()):
            return {}
        return {each: (past.bad + 0.5) / (past.total + 1) for each, past in lately.items()}

    def dispersion(self, name: str) -> Dispersion:
        """Return the scatter between the champion's pods so far, to start from."""
        return Dispersion.load(list(self._pasts[name].lately().dispersion))
