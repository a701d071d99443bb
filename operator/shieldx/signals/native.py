"""Native histograms, as a Prometheus tells them, read as classic ones; pure.

Their buckets are finer than any that are declared, come and go with what is observed, and are
merged in twos when there are many. Powers of two stay boundaries through all of that, so it is
at these that their exact counts are read; nothing is interpolated.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

# From a millisecond, where seconds are counted, to 16 s, where milliseconds are.
BOUNDARIES: Final = tuple(2.0**power for power in range(-10, 15))


class NativeHistogram(msgspec.Struct):
    """A sample as the query API has it: a bucket is its kind, both its ends and its count."""

    count: str
    buckets: list[tuple[int, str, str, str]] = []


class CoarseError(ValueError):
    """A bucket lies on both sides of a power of two."""


def cumulative(histogram: NativeHistogram) -> Sequence[tuple[str, float]]:
    """Return how much is at most each boundary, by its `le`; infinity is the last.

    CoarseError where that cannot be told, ValueError where a number is none.
    """
    buckets = [(float(low), float(high), float(n)) for _, low, high, n in histogram.buckets]
    below = [(le, _at_most(le, buckets)) for le in BOUNDARIES]
    return [(f"{le!r}", n) for le, n in (*below, (math.inf, float(histogram.count)))]


def _at_most(le: float, buckets: Sequence[tuple[float, float, float]]) -> float:
    for low, high, n in buckets:
        if low < le < high and n:
            raise CoarseError(f"a bucket from {low:g} to {high:g}, on both sides of {le:g}")
    return sum(n for _, high, n in buckets if high <= le)
