"""E[e] <= 1 by counting: every outcome of small buckets, through the shipped evidence.

For each pair of sizes the evidence on a metric is given each of the (n_a + 1)(n_b + 1) possible
buckets, once; the e-values are then averaged with the exact binomial chances under every pair of
true rates that the null allows. Nothing is simulated, nothing assumed about the projection. So are
pairs of buckets in a row, where the champion's rate may jump after the first, and capital that was
kept back is staked on the second.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import exp, inf

import numpy as np
from scipy.stats import binom

from shieldx.stats import MetricSpec
from shieldx.stats.engine import cut_at
from shieldx.stats.eprocess import Floats, Line
from shieldx.stats.jumps import has_jumped
from shieldx.stats.metric import MetricEvidence

type Sizes = tuple[int, int]  # requests of the champion, of the challenger

GRID = np.unique(np.concatenate([[0.0, 1e-6, 1.0 - 1e-6, 1.0], np.linspace(0.0, 1.0, 21)]))
TINY = 1e-15  # what rounding takes off a point on a line
SPECS = (
    MetricSpec("plain", base_rate=0.2),
    MetricSpec("rare", base_rate=0.004, margin_rel=1.0, tolerance_rel=0.41),
    MetricSpec("points", base_rate=0.1, margin_rel=0.0, margin_abs=0.05, tolerance_rel=1.0),
    MetricSpec("both margins", base_rate=0.3, margin_rel=0.2, margin_abs=0.1, mde=0.2),
    MetricSpec("orders", "higher", 0.6, margin_rel=0.2, tolerance_rel=0.1, mde=0.1),
    MetricSpec("orders in points", "higher", 0.5, margin_rel=0.0, margin_abs=0.1),
)


@dataclass(frozen=True, slots=True)
class Nulls:
    """Pairs of true rates that each claim allows, its border among them: shape `(t, 2)`."""

    harm: Floats
    noninferiority: Floats
    superiority: Floats

    @classmethod
    def of(cls, spec: MetricSpec) -> "Nulls":
        margin = spec.margin_at(spec.base_rate)
        return cls(
            harm=_allowed(spec.tolerated, spec.worse),
            noninferiority=_allowed(margin, -spec.worse),
            superiority=_allowed(Line(), -spec.worse),
        )

    @classmethod
    def of_any_prediction(cls, spec: MetricSpec) -> "Nulls":
        """What is beyond both margins: which of them is the looser one changes with the rate."""
        one = cls.of(spec)
        beyond = [
            all(spec.worse * (b - line.at(a)) >= -TINY for line in spec.margins)
            for a, b in one.noninferiority
        ]
        return replace(one, noninferiority=one.noninferiority[beyond])


def _allowed(line: Line, side: int) -> Floats:
    on_line = [(a, line.at(a)) for a in GRID if 0.0 <= line.at(a) <= 1.0]
    null = [(a, b) for a, b in product(GRID, GRID) if side * (b - line.at(a)) <= 0.0]
    return np.array(on_line + null)


def largest_expectations(
    spec: MetricSpec, sizes: Sequence[int], phi: float = 1.0, bucket_share: float = 1.0
) -> tuple[float, float, float]:
    """Return the largest E[e] of harm, non-inferiority and superiority over sizes and truths."""
    nulls, worst = Nulls.of(spec), np.zeros(3)
    for n_a, n_b in product(sizes, sizes):
        e_values = np.array(list(_e_values(spec, n_a, n_b, phi, bucket_share)))
        shaped = e_values.reshape(n_a + 1, n_b + 1, 3)
        for claim, truths in enumerate((nulls.harm, nulls.noninferiority, nulls.superiority)):
            chance_a = binom.pmf(np.arange(n_a + 1), n_a, truths[:, :1])
            chance_b = binom.pmf(np.arange(n_b + 1), n_b, truths[:, 1:])
            means = ((chance_a @ shaped[:, :, claim]) * chance_b).sum(axis=1)
            worst[claim] = max(worst[claim], means.max())
    return float(worst[0]), float(worst[1]), float(worst[2])


def largest_expectations_after_jumps(
    spec: MetricSpec, first: Sizes, second: Sizes, reserve: float
) -> tuple[float, float, float]:
    """Return the largest E[e] over two buckets, each of which may have a truth of its own.

    ValueError where no outcome of the first is a jump: then nothing would be shown.
    """
    outcomes = [list(product(range(n_a + 1), range(n_b + 1))) for n_a, n_b in (first, second)]
    if not any(has_jumped(first[0], x_a, spec.base_rate, 1.0) for x_a, _ in outcomes[0]):
        raise ValueError(f"no bucket of {first[0]} requests is a jump for {spec.name}")
    e_values = np.zeros((3, len(outcomes[0]), len(outcomes[1])))
    for (one, before), (two, after) in product(*(enumerate(each) for each in outcomes)):
        metric = MetricEvidence(
            spec, harm_cut=inf, promotion_cut=inf, recent_buckets=0, reserve=reserve
        )
        for (n_a, n_b), (x_a, x_b) in ((first, before), (second, after)):
            metric.update((n_a, x_a, n_b, x_b), 1.0, gains_safety=True)
        e_values[:, one, two] = _three(metric)
    nulls = Nulls.of_any_prediction(spec)
    largest = []
    for claim, truths in enumerate((nulls.harm, nulls.noninferiority, nulls.superiority)):
        chance_of_first, chance_of_second = _chances(first, truths), _chances(second, truths)
        largest.append(float((chance_of_first @ e_values[claim] @ chance_of_second.T).max()))
    return largest[0], largest[1], largest[2]


def _chances(sizes: Sizes, truths: Floats) -> Floats:
    """Return how likely each outcome of a bucket is under each truth: shape `(t, outcomes)`."""
    of_a, of_b = (
        np.asarray(binom.pmf(np.arange(n + 1), n, truths[:, [arm]])) for arm, n in enumerate(sizes)
    )
    together: Floats = (of_a[:, :, None] * of_b[:, None, :]).reshape(len(truths), -1)
    return together


def _e_values(
    spec: MetricSpec, n_a: int, n_b: int, phi: float, bucket_share: float
) -> Iterator[tuple[float, float, float]]:
    cut = cut_at(bucket_share, 0.01)
    for x_a, x_b in product(range(n_a + 1), range(n_b + 1)):
        metric = MetricEvidence(
            spec, harm_cut=cut, promotion_cut=cut, recent_buckets=0, reserve=0.0
        )
        metric.update((n_a, x_a, n_b, x_b), phi, gains_safety=True)
        yield _three(metric)


def _three(metric: MetricEvidence) -> tuple[float, float, float]:
    return (
        exp(metric.log_e_harm),
        exp(metric.log_e_noninferiority),
        exp(metric.log_e_superiority),
    )
