"""The rules that others decide by, on cumulative counts, for many runs at once.

Each takes (n_a, x_a, n_b, x_b) so far and says per run +1: the challenger's rate is higher, -1:
it is lower, or 0: go on. They are written from the sources named here, and held to published
values of those sources' own tests in `tests/unit/stats/test_peers.py`.
"""

from collections.abc import Callable
from math import log, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from tests.proofs.traffic import Counts

type Signs = NDArray[np.int64]
type Rule = Callable[[Counts, Counts], Signs]  # (this look's bucket, the sums so far)

_TWO_SIDED: Final = float(ndtri(0.975))
CHECK: Final = 1000.0  # requests of both arms between two checks
FAILURES_ALLOWED: Final = 5  # Flagger's default threshold


def difference(totals: Counts) -> tuple[Any, Any]:
    """The difference of the two rates and its pooled variance."""
    n_a, x_a, n_b, x_b = totals
    pooled = (x_a + x_b) / (n_a + n_b)
    return x_b / n_b - x_a / n_a, np.maximum(
        pooled * (1.0 - pooled) * (1.0 / n_a + 1.0 / n_b), 1e-300
    )


def repeated_test(_: Counts, totals: Counts) -> Signs:
    """The usual z-test, p < 0.05, at every look."""
    gap, variance = difference(totals)
    return signs(gap, np.abs(gap) >= _TWO_SIDED * np.sqrt(variance))


def repeated_posterior(_: Counts, totals: Counts) -> Signs:
    """P(better) or P(worse) at least 95 % at every look, by the normal form of the posteriors."""
    n_a, x_a, n_b, x_b = totals
    rate_a, rate_b = (x_a + 1.0) / (n_a + 2.0), (x_b + 1.0) / (n_b + 2.0)
    variance = rate_a * (1.0 - rate_a) / (n_a + 3.0) + rate_b * (1.0 - rate_b) / (n_b + 3.0)
    gap = rate_b - rate_a
    return signs(gap, np.abs(gap) >= float(ndtri(0.95)) * np.sqrt(variance))


def log_normal_mixture(s: Any, v: Any, rho: float) -> Any:
    """Robbins's two-sided normal mixture, as in `confseq` (Howard and Ramdas)."""
    return 0.5 * np.log(rho / (v + rho)) + s * s / (2.0 * (v + rho))


def msprt(effect: float, alpha: float = 0.05) -> Rule:
    """The mixture sequential test of Johari, Pekelis and Walsh (2022), told the true effect."""

    def rule(_: Counts, totals: Counts) -> Signs:
        gap, variance = difference(totals)
        log_e = log_normal_mixture(gap / variance, 1.0 / variance, 1.0 / effect**2)
        return signs(gap, log_e >= log(1.0 / alpha))

    return rule


def growthbook_interval(
    totals: Counts, tuning: float = 5000.0, alpha: float = 0.05
) -> tuple[Any, Any]:
    """The lift and the half width of GrowthBook's sequential interval for it.

    Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences",
    equations 9 and 161, on the delta method's variance of the ratio, as in `gbstats`.
    """
    n_a, x_a, n_b, x_b = totals
    rate_a, rate_b = np.maximum(x_a / n_a, 1e-12), x_b / n_b
    var_a, var_b = rate_a * (1.0 - rate_a), rate_b * (1.0 - rate_b)
    variance = var_b / rate_a**2 / n_b + var_a * rate_b**2 / rate_a**4 / n_a
    n = n_a + n_b
    squared = (-2.0 * log(alpha) + log(-2.0 * log(alpha) + 1.0)) / tuning
    grown = n * squared + 1.0
    width = np.sqrt(variance * n * 2.0 * grown * log(sqrt(grown) / alpha) / (n * n * squared))
    return rate_b / rate_a - 1.0, width


def growthbook(_: Counts, totals: Counts) -> Signs:
    """GrowthBook's sequential test, 5 %, its default tuning, without its guard of 150 events."""
    lift, width = growthbook_interval(totals)
    return signs(lift, (np.abs(lift) > width) & (totals[1] > 0) & (totals[3] > 0))


def growthbook_guarded(bucket: Counts, totals: Counts) -> Signs:
    """The same with the guard: nothing before both arms have 150 events."""
    enough = np.minimum(totals[1], totals[3]) >= 150
    return np.where(enough, growthbook(bucket, totals), 0)


class FixedThreshold:
    """Roll back when checks of the challenger fail: error rate above 1 %, five times.

    So do Argo Rollouts (`failureLimit`) and Flagger (`threshold`) with a success rate of 99 %: the
    champion is not looked at, a check has no idea of its own noise. It never says "better".
    """

    def __init__(self, runs: int, limit: float = 0.01) -> None:
        self._limit = limit
        self._requests = self._challenger = 0.0
        self._bad = np.zeros(runs)
        self._failures = np.zeros(runs, dtype=np.int64)

    def __call__(self, bucket: Counts, _: Counts) -> Signs:
        self._requests += bucket[0] + bucket[2]
        self._challenger += bucket[2]
        self._bad = self._bad + bucket[3]
        if self._requests >= CHECK:
            self._failures = self._failures + (self._bad / self._challenger > self._limit)
            self._requests, self._challenger, self._bad = 0.0, 0.0, np.zeros_like(self._bad)
        return (self._failures >= FAILURES_ALLOWED).astype(np.int64)


def signs(gap: Any, significant: Any) -> Signs:
    return np.where(significant, np.sign(gap), 0).astype(np.int64)
