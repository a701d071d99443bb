"""Evidence that may be looked at after every bucket: e-values of two binomial counts.

One bucket gives four counts: `n` requests of the champion (A) and the challenger (B), `x` of
them with the event. A null hypothesis is a half-plane of rates, `rate_b <= r * rate_a + d` or
the other side of that line. Against it stands an alternative that is chosen before the bucket
is seen: the champion's rate as predicted from earlier buckets, and the challenger's at some
distance in log-odds. The e-value is the likelihood ratio of that alternative to its projection
on the line (the reverse information projection of Turner, Ly and Grünwald, "Generic e-variables
for exact sequential k-sample tests", 2024).

Why it holds: the expectation of the e-value is log-concave in the true rates, equals one at the
projection and has its gradient there pointing out of the null half-plane, so it is at most one
for every pair of rates that the null allows, whatever the prediction was worth. Products over
buckets and averages over alternatives keep that, and by Ville's inequality the chance that such
an average ever reaches 1/alpha is at most alpha, however often one looks.

Logarithms throughout; shapes are `(k,)`, one number for each of k alternatives of a mixture. Counts
and predicted rates may also be arrays of shape `(runs, 1)`, for many runs at once: `(runs, k)`
comes out, by the same formulas.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float64]
type Numbers = float | Floats  # one, or one a run: shape `(runs, 1)`

SMALLEST_RATE: Final = 1e-9
MEMORY: Final = 200.0  # requests that the declared base rate counts for
FORGET: Final = 0.5 ** (1 / 60)  # half-life of 60 buckets
_BISECTIONS: Final = 60
_CLOSE: Final = 1e-13  # relative; the evidence has its maximum there, so its error is the square


@dataclass(frozen=True, slots=True)
class Line:
    """The border of a null hypothesis: `rate_b = slope * rate_a + shift`."""

    slope: float = 1.0
    shift: float = 0.0

    def at(self, rate: float) -> float:
        return self.slope * rate + self.shift


@dataclass(frozen=True, slots=True)
class Centre:
    """The champion's rate as predicted from the buckets so far (never from the present one)."""

    events: float
    requests: float

    @classmethod
    def at(cls, base_rate: float) -> Self:
        return cls(MEMORY * base_rate, MEMORY)

    @property
    def rate(self) -> float:
        return clip_rate(self.events / self.requests)

    def after(self, n: float, x: float) -> Self:
        """Remember one bucket of the champion: `x` events in `n` requests."""
        return type(self)(FORGET * self.events + x, FORGET * self.requests + n)


def clip_rate(rate: float) -> float:
    return min(max(rate, SMALLEST_RATE), 1.0 - SMALLEST_RATE)


def log_odds(rate: float) -> float:
    return float(np.log(rate) - np.log1p(-rate))


def shift_odds(rate: Numbers, deltas: Floats) -> Floats:
    """Move a rate by `deltas` of log-odds: shape `(k,)`, each in (0, 1)."""
    grown = rate * np.exp(deltas)
    return _inside(grown / (1.0 - rate + grown))


def _inside(rates: Floats) -> Floats:
    """Keep rates off 0 and 1, where rounding may put them and logarithms end."""
    return np.clip(rates, 1e-18, 1.0 - 1e-15)


def log_e_values(
    counts: tuple[Numbers, Numbers, Numbers, Numbers],
    rate: Numbers,
    deltas: Floats,
    line: Line,
    side: int,
) -> Floats:
    """Return the log e-value of one bucket for each alternative, shape `(k,)` or `(runs, k)`.

    `counts` is (n_a, x_a, n_b, x_b); `rate` the predicted rate of A; `deltas` the alternatives'
    log-odds from there, shape `(k,)`; `side` is +1 where evidence speaks for B above `line`, -1
    for B below it. An alternative that lies on the null's own side of the line is no alternative
    in this bucket: its log e-value is 0. So is each of them when an arm had no requests.
    """
    n_a, x_a, n_b, x_b = counts
    both = np.logical_and(np.greater(n_a, 0), np.greater(n_b, 0))
    if not both.any():
        return np.zeros(np.broadcast_shapes(both.shape, deltas.shape))
    if not both.all():  # runs without a bucket: anything finite, it does not count below
        n_a, n_b = np.where(both, n_a, 1.0), np.where(both, n_b, 1.0)
    rate_b = shift_odds(rate, deltas)
    null_a, null_b = project(n_a, rate, n_b, rate_b, line)
    log_e = (
        x_a * np.log(rate / null_a)
        + (n_a - x_a) * (np.log1p(-rate) - np.log1p(-null_a))
        + x_b * np.log(rate_b / null_b)
        + (n_b - x_b) * (np.log1p(-rate_b) - np.log1p(-null_b))
    )
    speaks = side * (rate_b - (line.slope * rate + line.shift)) > 0.0
    return np.where(np.logical_and(speaks, both), log_e, 0.0)


def project(
    n_a: Numbers, rate_a: Numbers, n_b: Numbers, rate_b: Floats, line: Line
) -> tuple[Floats, Floats]:
    """Return the points of `line` nearest to (rate_a, rate_b) in n-weighted divergence.

    argmin over a of `n_a KL(rate_a || a) + n_b KL(rate_b || slope a + shift)`, for each of the
    rates of B: two arrays of its shape.
    """
    if line.shift == 0.0:
        null_a = _project_through_origin(n_a, rate_a, n_b, rate_b, line.slope)
    elif rate_b.ndim > 1:
        null_a = _project_runs(n_a, rate_a, n_b, rate_b, line)
    else:
        null_a = _project_by_bisection(float(n_a), float(rate_a), float(n_b), rate_b, line)
    return _inside(null_a), _inside(line.slope * null_a + line.shift)


def _project_through_origin(
    n_a: Numbers, rate_a: Numbers, n_b: Numbers, rate_b: Floats, slope: float
) -> Floats:
    events = n_a * rate_a + n_b * rate_b
    linear = n_a * (1.0 + slope * rate_a) + n_b * (slope + rate_b)
    root = np.sqrt(np.maximum(linear * linear - 4.0 * slope * (n_a + n_b) * events, 0.0))
    return 2.0 * events / (linear + root)


def _project_by_bisection(
    n_a: float, rate_a: float, n_b: float, rate_b: Floats, line: Line
) -> Floats:
    """Find the root of the score, which grows along the line from -inf to +inf."""
    return np.array([_root_of_score(n_a, rate_a, n_b, float(rate), line) for rate in rate_b])


def _project_runs(
    n_a: Numbers, rate_a: Numbers, n_b: Numbers, rate_b: Floats, line: Line
) -> Floats:
    """Find the same roots by Newton's steps, and by halving where one would leave the bracket."""
    low, high = (np.full_like(rate_b, end) for end in _ends(line))
    mean = (n_a * rate_a + n_b * (rate_b - line.shift) / line.slope) / (n_a + n_b)
    root = np.clip(mean, low + 1e-12, high - 1e-12)
    for _ in range(_BISECTIONS):
        score = _score(n_a, rate_a, n_b, rate_b, root, line=line)
        below = score < 0.0
        low, high = np.where(below, root, low), np.where(below, high, root)
        step = root - score / _slope_of_score(n_a, rate_a, n_b, rate_b, root, line=line)
        inside = (step >= low) & (step <= high)  # False for what is no number
        last, root = root, np.where(inside, step, 0.5 * (low + high))
        if (np.abs(root - last) <= _CLOSE * root).all():
            break
    return root


def _slope_of_score(
    n_a: Numbers, rate_a: Numbers, n_b: Numbers, rate_b: Floats, a: Floats, *, line: Line
) -> Floats:
    b = line.slope * a + line.shift
    of_a = b * (1.0 - b) + line.slope * (a - rate_a) * (1.0 - 2.0 * b)
    of_b = line.slope * a * (1.0 - a) + (b - rate_b) * (1.0 - 2.0 * a)
    slope: Floats = n_a * of_a + line.slope * n_b * of_b
    return slope


def _score[N: (float, Floats)](
    n_a: Numbers, rate_a: Numbers, n_b: Numbers, rate_b: N, a: N, *, line: Line
) -> Any:
    """The score at `a` times a (1 - a) b (1 - b): the same sign, and finite at the ends."""
    b = line.slope * a + line.shift
    return n_a * (a - rate_a) * b * (1.0 - b) + line.slope * n_b * (b - rate_b) * a * (1.0 - a)


def _root_of_score(n_a: float, rate_a: float, n_b: float, rate_b: float, line: Line) -> float:
    # Plain floats: for a handful of alternatives they take a tenth of what arrays take.
    low, high = _ends(line)
    for _ in range(_BISECTIONS):
        a = 0.5 * (low + high)
        if _score(n_a, rate_a, n_b, rate_b, a, line=line) < 0.0:
            low = a
        else:
            high = a
    return 0.5 * (low + high)


def _ends(line: Line) -> tuple[float, float]:
    """Return between which rates of A the line stays inside the square of rates."""
    return max(0.0, -line.shift / line.slope), min(1.0, (1.0 - line.shift) / line.slope)


@dataclass(frozen=True, slots=True)
class Mixture:
    """The alternatives of one e-process: `deltas` in log-odds and their prior weights."""

    deltas: Floats
    log_weights: Floats

    @classmethod
    def of(cls, deltas: Floats, weights: Floats) -> Self:
        return cls(deltas, np.log(weights / weights.sum()))

    def log_e(self, evidence: Floats) -> float:
        """Return the log of the mixture's e-value, given the log evidence of each part."""
        return float(self.log_e_of_runs(evidence))

    def log_e_of_runs(self, evidence: Floats) -> Floats:
        """Return the same for evidence of shape `(runs, k)`: shape `(runs,)`."""
        return log_sums_exp(self.log_weights + evidence)


def log_sum_exp(terms: Floats) -> float:
    return float(log_sums_exp(terms))


def log_sums_exp(terms: Floats) -> Floats:
    """Return ln(sum(exp(terms))) over the last axis."""
    top = terms.max(axis=-1, keepdims=True)
    sums: Floats = top[..., 0] + np.log(np.exp(terms - top).sum(axis=-1))
    return sums


def harm_mixture(sign: int) -> Mixture:
    """Spread the prior over odds ratios from 1.05 to 600, `sign` +1 upwards, -1 downwards."""
    deltas = sign * 0.05 * np.exp2(np.arange(8, dtype=np.float64))
    return Mixture.of(deltas, np.array([1.0, 1.0, 2.0, 3.0, 5.0, 5.0, 3.0, 1.0]))


def noninferiority_mixture(margin: float) -> Mixture:
    """Put most of the prior on "identical"; `margin` is the margin's signed log-odds."""
    return Mixture.of(margin * np.array([0.0, 0.4, -0.5, -1.5]), np.array([0.6, 0.2, 0.1, 0.1]))


def superiority_mixture(effect: float | None, sign: int) -> Mixture:
    """Double from half the owner's minimum effect (or 0.05) up to odds of 64.

    `effect` is that minimum effect's signed log-odds; it alone carries 70 % of the prior.
    """
    first = 0.05 if effect is None else abs(effect) / 2.0
    count = max(1, int(np.floor(np.log2(np.log(64.0) / first))) + 1)
    grid = sign * first * np.exp2(np.arange(count, dtype=np.float64))
    if effect is None:
        return Mixture.of(grid, np.ones(count))
    return Mixture.of(
        np.concatenate([grid, [sign * abs(effect)]]),
        np.concatenate([np.full(count, 0.3 / count), [0.7]]),
    )
