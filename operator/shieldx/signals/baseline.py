"""The champion's past before the challenger got traffic: what is normal, and how it scatters."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from shieldx.signals.buckets import Bucket
from shieldx.stats import Dispersion

LONGEST_SECONDS: Final = 3600.0
FEWEST_BUCKETS: Final = 10


class Baseline:
    """Remembers up to an hour of buckets in which only the champion had traffic."""

    __slots__ = ("_buckets", "_names")

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._buckets: deque[Bucket] = deque()

    def add(self, bucket: Bucket) -> None:
        """Remember a bucket, and forget what is more than an hour older."""
        self._buckets.append(bucket)
        while self._buckets[0].end < bucket.end - LONGEST_SECONDS:
            self._buckets.popleft()

    def base_rate(self, name: str, default: float) -> float:
        """Return (bad + ½) / (n + 1) of the champion, or `default` from fewer than 10 buckets."""
        counted = [pods for bucket in self._buckets if (pods := bucket.metrics[name].champion)]
        if len(counted) < FEWEST_BUCKETS:
            return default
        total = sum(n for pods in counted for n, _ in pods.values())
        bad = sum(bad for pods in counted for _, bad in pods.values())
        return (bad + 0.5) / (total + 1)

    def dispersion(self, name: str) -> Dispersion:
        """Return the scatter between the champion's pods so far, to start from."""
        dispersion = Dispersion()
        for bucket in self._buckets:
            if pods := bucket.metrics[name].champion:
                dispersion.add(champion=pods, challenger={})
        return dispersion
