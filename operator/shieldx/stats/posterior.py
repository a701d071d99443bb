"""What to believe about the challenger's rate: for people to read, never to decide by.

Each bucket is a stratum, so that a base rate that drifts while the weights rise cannot fake an
effect. The estimate of the rate ratio is Mantel and Haenszel's, its variance Greenland and
Robins's ("Estimation of a common effect parameter from sparse follow-up data", 1985), both made
of three running sums. The prior on the log ratio is normal around "no difference"; one event,
split over the arms by their traffic, keeps the estimate finite where an arm has had none.
"""

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import Final, Self

import numpy as np
from scipy.special import betaincc, betaincinv, ndtr, ndtri

PRIOR_SPREAD: Final = 1.0  # of the log rate ratio: 95 % of challengers are within a factor of 7
_TWO_SIDED_95 = float(ndtri(0.975))
_SCORES: Final = np.linspace(-8.5, 8.5, 137)
_MASSES: Final = np.exp(-(_SCORES**2) / 2.0) * (_SCORES[1] - _SCORES[0]) / sqrt(2.0 * np.pi)


@dataclass(frozen=True, slots=True)
class Strata:
    """Running sums over buckets: Mantel-Haenszel's two, their variance's, and the requests."""

    numerator: float = 0.0
    denominator: float = 0.0
    spread: float = 0.0
    n_a: float = 0.0
    n_b: float = 0.0

    def plus(self, counts: tuple[float, float, float, float], phi: float) -> Self:
        """Add one bucket, (n_a, x_a, n_b, x_b), which tells 1/phi of what it would alone."""
        n_a, x_a, n_b, x_b = counts
        n = n_a + n_b
        spread = ((x_a + x_b) * n_a * n_b - x_a * x_b * n) / (n * n)
        return type(self)(
            self.numerator + x_b * n_a / n / phi,
            self.denominator + x_a * n_b / n / phi,
            self.spread + spread / phi,
            self.n_a + n_a,
            self.n_b + n_b,
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.numerator + other.numerator,
            self.denominator + other.denominator,
            self.spread + other.spread,
            self.n_a + other.n_a,
            self.n_b + other.n_b,
        )


@dataclass(frozen=True, slots=True)
class Posterior:
    """A normal belief about ln(rate of the challenger / rate of the champion)."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, strata: Strata) -> Self:
        n = strata.n_a + strata.n_b
        if strata.n_a <= 0.0 or strata.n_b <= 0.0:
            return cls(0.0, PRIOR_SPREAD)
        pseudo = strata.n_a * strata.n_b / (n * n)
        numerator, denominator = strata.numerator + pseudo, strata.denominator + pseudo
        precision = numerator * denominator / (strata.spread + pseudo)
        variance = 1.0 / (precision + PRIOR_SPREAD**-2)
        return cls(variance * precision * log(numerator / denominator), sqrt(variance))

    def probability_above(self, ratio: float) -> float:
        """Return the chance that the rate ratio exceeds `ratio`."""
        bound = log(ratio) if ratio > 0.0 else -inf
        return float(ndtr((self.mean - bound) / self.deviation))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate ratio."""
        reach = _TWO_SIDED_95 * self.deviation
        return exp(self.mean - reach), exp(self.mean + reach)

    def expected_excess(self) -> float:
        """Return E[max(ratio - 1, 0)]: what is lost, relatively, if more turns out worse."""
        return self._upper_tail_mean() - self.probability_above(1.0)

    def expected_shortfall(self) -> float:
        """Return E[max(1 - ratio, 0)]: what is lost, relatively, if less turns out worse."""
        mean_ratio = exp(self.mean + self.deviation**2 / 2.0)
        return 1.0 - self.probability_above(1.0) - (mean_ratio - self._upper_tail_mean())

    def _upper_tail_mean(self) -> float:
        """Return E[ratio; ratio > 1]."""
        mean_ratio = exp(self.mean + self.deviation**2 / 2.0)
        return mean_ratio * float(ndtr(self.mean / self.deviation + self.deviation))


def probability_of_more(
    champion: tuple[float, float], challenger: tuple[float, float], base_rate: float
) -> float:
    """Return P(rate of the challenger > rate of the champion) from one bucket of (n, bad) each.

    Exact up to 1e-9, with a prior worth one request at `base_rate` on either rate: Beta posteriors,
    one arm's survival integrated over the normal scores of the more certain arm, where the
    trapezoid rule is exact to machine precision for all that is smooth. For one stratum only:
    over buckets with a base rate or a split that moves, pooled counts say what nobody asked
    (`Posterior` does not).
    """
    if champion[0] < challenger[0]:
        return 1.0 - probability_of_more(challenger, champion, base_rate)
    (n_a, x_a), (n_b, x_b) = champion, challenger
    of_a = x_a + base_rate, n_a - x_a + 1.0 - base_rate
    of_b = x_b + base_rate, n_b - x_b + 1.0 - base_rate
    rates = betaincinv(*of_a, ndtr(_SCORES))
    return float(_MASSES @ betaincc(*of_b, rates))
