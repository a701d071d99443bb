"""What a decision will take, before it is asked: requests, and how often it errs.

`requests_to_decide` is a formula and takes no time: log evidence is a random walk with a drift, so
the time at which it first reaches a threshold is inverse-Gaussian (Wald 1947). It leaves out
the cut per bucket, a reserve (a tenth takes 2 % more requests) and dispersion, and that looks
come once a bucket.
`operating_characteristics` simulates the rule itself, with the dice that it is given.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Final, Literal

import numpy as np
from numpy.random import Generator
from scipy.special import betaincinv, log_ndtr, ndtr

from shieldx.stats.engine import Mode
from shieldx.stats.eprocess import (
    Floats,
    Line,
    Mixture,
    harm_mixture,
    log_e_values,
    log_sum_exp,
    noninferiority_mixture,
    superiority_mixture,
)
from shieldx.stats.metric import MetricSpec
from shieldx.stats.streams import Each, Flags, Streams

type Evidence = Literal["harm", "noninferiority", "superiority"]
type Buckets = Iterable[Sequence[Sequence[Each]]]

_LOOKS_AHEAD: Final = 3
_HALVINGS: Final = 80


def requests_to_decide(
    spec: MetricSpec,
    evidence: Evidence = "noninferiority",
    *,
    challenger_rate: float | None = None,
    champion_rate: float | None = None,
    risk: float = 0.01,
    share: float = 0.5,
    quantile: float = 0.5,
) -> float:
    """Return how many requests, of both arms together, it takes until `evidence` reaches 1/risk.

    Within that number it is there in `quantile` of all cases: 0.5 is the median, 0.9 what to plan
    with. The champion's rate is the spec's `base_rate` and the challenger's is the champion's
    unless told otherwise; `share` of the requests is the challenger's. Infinite where evidence
    does not grow at those rates: there it comes by chance or never.

    ValueError for a share, risk or quantile that is not between 0 and 1.
    """
    for name, value in (("risk", risk), ("share", share), ("quantile", quantile)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} is between 0 and 1, got {value}")
    rate_a = spec.base_rate if champion_rate is None else champion_rate
    rate_b = rate_a if challenger_rate is None else challenger_rate
    mixture, drift, scatter = _walk(spec, evidence, rate_a, rate_b, share)
    needed = log(1.0 / risk) - mixture.log_weights
    best = inf
    for _ in range(_LOOKS_AHEAD):  # the other parts of the mixture help the best one along
        best = _first_passage(needed, drift, scatter, quantile)
        if best == inf:
            return inf
        parts = mixture.log_weights + best * drift
        needed = log(1.0 / risk) - mixture.log_weights - (log_sum_exp(parts) - parts.max())
    return best


def requests_missing(
    spec: MetricSpec,
    evidence: Evidence,
    log_e: float,
    *,
    champion_rate: float,
    challenger_rate: float,
    risk: float,
    share: float,
) -> float:
    """Return how many more requests, of both arms together, take `log_e` to 1/risk on average.

    What is missing over the drift of the part of the mixture that grows fastest (Wald 1947), so it
    is quick enough for every bucket. 0 where nothing is missing, infinite where evidence does
    not grow at those rates.
    """
    missing = log(1.0 / risk) - log_e
    if missing <= 0.0:
        return 0.0
    _, drift, _ = _walk(spec, evidence, champion_rate, challenger_rate, share)
    fastest = float(drift.max())
    return missing / fastest if fastest > 0.0 else inf


def _walk(
    spec: MetricSpec, evidence: Evidence, rate_a: float, rate_b: float, share: float
) -> tuple[Mixture, Floats, Floats]:
    """Return a mixture, and the drift and variance that each of its parts has a request."""
    side = -spec.worse
    match evidence:
        case "harm":
            mixture, line, side = harm_mixture(spec.worse), spec.tolerated, spec.worse
        case "noninferiority":
            mixture = noninferiority_mixture(spec.margin_log_odds)
            line = spec.margin_at(rate_a)
        case "superiority":
            mixture, line = superiority_mixture(spec.effect_log_odds, side), Line()
    n_a, n_b = 1.0 - share, share

    # A log e-value is linear in the counts: what a request, and what an event of either arm adds.
    def gain(x_a: float, x_b: float) -> Floats:
        return log_e_values((n_a, x_a, n_b, x_b), rate_a, mixture.deltas, line, side)

    always = gain(0.0, 0.0)
    of_a, of_b = gain(1.0, 0.0) - always, gain(0.0, 1.0) - always
    drift = always + n_a * rate_a * of_a + n_b * rate_b * of_b
    scatter = n_a * rate_a * (1.0 - rate_a) * of_a**2 + n_b * rate_b * (1.0 - rate_b) * of_b**2
    return mixture, drift, scatter


def _first_passage(needed: Floats, drift: Floats, scatter: Floats, quantile: float) -> float:
    grows = drift > 0.0
    if not grows.any():
        return inf
    needed, drift, scatter = np.maximum(needed[grows], 1e-9), drift[grows], scatter[grows]
    mean, shape = needed / drift, needed**2 / scatter
    return float(np.min(_passage_quantile(quantile, mean, shape)))


def _passage_quantile(quantile: float, mean: Floats, shape: Floats) -> Floats:
    """Return quantiles of inverse Gaussian times, by halving between logarithms of times.

    Source: the distribution function of Shuster (1968), JASA 63, 1514.
    """
    low, high = np.log(mean) - 60.0, np.log(mean) + 60.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        time = np.exp(middle)
        root = np.sqrt(shape / time)
        passed = ndtr(root * (time / mean - 1.0)) + np.exp(
            np.minimum(2.0 * shape / mean + log_ndtr(-root * (time / mean + 1.0)), 0.0)
        )
        low, high = (
            np.where(passed < quantile, middle, low),
            np.where(passed < quantile, high, middle),
        )
    return np.exp((low + high) / 2.0)


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened in simulated runs, with its 95 % Clopper-Pearson interval."""

    hits: int
    runs: int

    @property
    def share(self) -> float:
        return self.hits / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        low = float(betaincinv(self.hits, self.runs - self.hits + 1, 0.025)) if self.hits else 0.0
        missed = self.runs - self.hits
        high = float(betaincinv(self.hits + 1, missed, 0.975)) if missed else 1.0
        return low, high


@dataclass(frozen=True, slots=True)
class Race:
    """In which bucket, counted from 1, each run first was at a verdict; infinite for never."""

    rolled_back: Floats
    promoted: Floats

    @property
    def rollbacks(self) -> Rate:
        """Runs rolled back, before a promotion or without one."""
        return _rate(np.isfinite(self.rolled_back) & (self.rolled_back <= self.promoted))

    @property
    def promotions(self) -> Rate:
        return _rate(np.isfinite(self.promoted) & (self.promoted < self.rolled_back))


def race(streams: Streams, buckets: Buckets, runs: int, *, min_buckets: int = 1) -> Race:
    """Feed all runs the same buckets, until each is at a verdict or the buckets are over."""
    rolled_back, promoted = np.full(runs, inf), np.full(runs, inf)
    for bucket, counts in enumerate(buckets, start=1):
        streams.update(counts)
        rolled_back[streams.harmful & np.isinf(rolled_back)] = bucket
        if bucket >= min_buckets:
            promoted[streams.safe & np.isinf(promoted)] = bucket
        if np.isfinite(np.minimum(rolled_back, promoted)).all():
            break
    return Race(rolled_back, promoted)


@dataclass(frozen=True, slots=True)
class Characteristics:
    """What the rule does at given true rates: how often, and after how many requests."""

    promoted: Rate
    rolled_back: Rate
    requests_to_promote: tuple[float, float]  # median and 90th percentile of those promoted
    requests_to_roll_back: tuple[float, float]


def operating_characteristics(
    specs: Sequence[MetricSpec],
    rates: Sequence[tuple[float, float]],
    dice: Generator,
    *,
    requests_per_bucket: int,
    buckets: int,
    share: float | Callable[[int], float] = 0.5,
    runs: int = 1000,
    mode: Mode = "noninferiority",
    rollback_risk: float = 0.01,
    promotion_risk: float = 0.01,
    min_buckets: int = 1,
    bucket_share: float = 1.0,
    reserve: float = 0.0,
) -> Characteristics:
    """Simulate the rule on `runs` experiments of at most `buckets` buckets.

    `rates` holds (champion, challenger) per metric, which are independent of each other; `share`
    is the challenger's part of the requests, or a function of the bucket's number from 0.
    Dispersion and restarts are left out. A second or two for a thousand runs of a thousand buckets.
    """

    def rows() -> Buckets:
        for bucket in range(buckets):
            part = share(bucket) if callable(share) else share
            n_b = round(requests_per_bucket * part)
            n_a = requests_per_bucket - n_b
            yield [
                (n_a, dice.binomial(n_a, rate_a, runs), n_b, dice.binomial(n_b, rate_b, runs))
                for rate_a, rate_b in rates
            ]

    streams = Streams(
        specs,
        runs,
        mode,
        rollback_risk=rollback_risk,
        promotion_risk=promotion_risk,
        bucket_share=bucket_share,
        reserve=reserve,
    )
    result = race(streams, rows(), runs, min_buckets=min_buckets)
    return Characteristics(
        promoted=result.promotions,
        rolled_back=result.rollbacks,
        requests_to_promote=_spread(
            requests_per_bucket * result.promoted[result.promoted < result.rolled_back]
        ),
        requests_to_roll_back=_spread(
            requests_per_bucket * result.rolled_back[result.rolled_back <= result.promoted]
        ),
    )


def _spread(requests: Floats) -> tuple[float, float]:
    seen = requests[np.isfinite(requests)]
    return (float(np.median(seen)), float(np.quantile(seen, 0.9))) if len(seen) else (inf, inf)


def _rate(happened: Flags) -> Rate:
    return Rate(int(happened.sum()), len(happened))
