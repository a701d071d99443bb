"""Latencies as a client's histogram counts them, for many runs at once."""

from math import inf

import numpy as np
from numpy.random import Generator
from scipy.stats import lognorm

from shieldx.stats import HistogramSpec
from shieldx.stats.eprocess import Floats
from shieldx.stats.streams import Streams

BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MEDIAN_SECONDS, SCATTER = 0.1, 0.56  # the 95th percentile is at 0.25 s
PER_LOOK = 100


def histogram() -> HistogramSpec:
    """What was known of the champion before: 100,000 requests."""
    below = 1e5 * lognorm(SCATTER, scale=MEDIAN_SECONDS).cdf(BOUNDARIES)
    return HistogramSpec("latency", BOUNDARIES, (*(float(round(n)) for n in below), 1e5))


def requests_to_see_slowness(dice: Generator, runs: int, slower: float, horizon: int) -> Floats:
    """Return after how many requests each run was rolled back, or infinity."""
    spec = histogram()
    chances = [
        np.diff([0.0, *lognorm(SCATTER, scale=MEDIAN_SECONDS * by).cdf(BOUNDARIES), 1.0])
        for by in (1.0, slower)
    ]
    streams = Streams(spec.metrics, runs, promotion_risk=1e-300)
    first = np.full(runs, inf)
    for look in range(1, horizon // PER_LOOK + 1):
        n = PER_LOOK // 2
        below = [dice.multinomial(n, each, size=runs).cumsum(axis=1) for each in chances]
        streams.update([(n, n - below[0][:, at], n, n - below[1][:, at]) for at in spec.telling])
        first[streams.harmful & np.isinf(first)] = look * PER_LOOK
    return first
