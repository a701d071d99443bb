"""E-values are what they claim: never above one on average, wherever the null holds."""

from itertools import product
from math import comb, exp, log, log1p
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from shieldx.stats import eprocess
from shieldx.stats.eprocess import (
    Centre,
    Floats,
    Line,
    Mixture,
    clip_rate,
    harm_mixture,
    log_e_values,
    log_odds,
    log_sum_exp,
    log_sums_exp,
    noninferiority_mixture,
    project,
    shift_odds,
    superiority_mixture,
)

SIZES = list(product(range(13), range(13)))
RATES = [0.004, 0.2, 0.5, 0.93]  # predicted, right or wrong: the truth is anywhere
GRID = np.unique(np.concatenate([[0.0, 1e-6, 1.0 - 1e-6, 1.0], np.linspace(0.0, 1.0, 21)]))

# (alternatives, line, side of the evidence): each process, mirrored, with both kinds of margin
PROCESSES = {
    "harm": (harm_mixture(1).deltas, Line(), 1),
    "harm, tolerated": (harm_mixture(1).deltas, Line(1.41), 1),
    "harm where higher is better": (harm_mixture(-1).deltas, Line(0.8), -1),
    "non-inferior, relative": (noninferiority_mixture(0.22).deltas, Line(1.25), -1),
    "non-inferior, double": (noninferiority_mixture(0.7).deltas, Line(2.0), -1),
    "non-inferior, absolute": (noninferiority_mixture(0.7).deltas, Line(1.0, 0.05), -1),
    "non-inferior where higher is better": (noninferiority_mixture(-0.4).deltas, Line(0.7), 1),
    "non-inferior, absolute, higher": (noninferiority_mixture(-0.4).deltas, Line(1.0, -0.05), 1),
    "superior": (superiority_mixture(None, -1).deltas, Line(), -1),
    "superior by a declared effect": (superiority_mixture(0.4, 1).deltas, Line(), 1),
}


def chances(n: int, rates: Floats) -> Floats:
    """The binomial chance of each count, shape (t, n + 1)."""
    x = np.arange(n + 1)
    return np.array([comb(n, each) for each in x]) * rates**x * (1.0 - rates) ** (n - x)


def expectations(e_values: Floats, n_a: int, n_b: int, truths: Floats) -> Floats:
    """Average e-values of shape (n_a + 1, n_b + 1, k) over the counts, for (t, 2) true rates."""
    chance_a, chance_b = chances(n_a, truths[:, :1]), chances(n_b, truths[:, 1:])
    given_b = np.tensordot(chance_a, e_values, axes=(1, 0))
    means: Floats = (given_b * chance_b[:, :, np.newaxis]).sum(axis=1)
    return means


def all_e_values(n_a: int, n_b: int, rate: float, process: tuple[Floats, Line, int]) -> Floats:
    deltas, line, side = process
    x_a, x_b = np.array(list(product(range(n_a + 1), range(n_b + 1))), dtype=float).T
    n = np.full((len(x_a), 1), 1.0)
    counts = (n_a * n, x_a[:, np.newaxis], n_b * n, x_b[:, np.newaxis])
    log_e = log_e_values(counts, rate * n, deltas, line, side)
    return np.exp(log_e).reshape(n_a + 1, n_b + 1, len(deltas))


@pytest.mark.parametrize("process", PROCESSES)
def test_one_bucket_alone_has_the_e_values_that_it_has_among_many(process: str) -> None:
    deltas, line, side = PROCESSES[process]

    for n_a, n_b in ((5, 2), (3, 4), (12, 7), (0, 3)):
        alone = [
            log_e_values((n_a, x_a, n_b, x_b), 0.2, deltas, line, side)
            for x_a, x_b in product(range(n_a + 1), range(n_b + 1))
        ]
        among = all_e_values(n_a, n_b, 0.2, PROCESSES[process]).reshape(-1, len(deltas))
        assert np.exp(alone) == pytest.approx(among, rel=1e-12)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("rate", RATES)
def test_no_truth_that_the_null_allows_makes_evidence_on_average(process: str, rate: float) -> None:
    _, line, side = PROCESSES[process]
    on_line = [(a, line.at(a)) for a in GRID if 0.0 <= line.at(a) <= 1.0]
    null = [(a, b) for a, b in product(GRID, GRID) if side * (b - line.at(a)) <= 0.0]
    truths = np.array(on_line + null)

    for n_a, n_b in SIZES:
        e_values = all_e_values(n_a, n_b, rate, PROCESSES[process])
        assert expectations(e_values, n_a, n_b, truths).max() <= 1.0 + 1e-12


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("rate", RATES)
def test_at_the_projection_the_bound_is_met(process: str, rate: float) -> None:
    deltas, line, side = PROCESSES[process]
    rates_b = shift_odds(rate, deltas)
    bets = side * (rates_b - line.at(rate)) > 0.0

    for n_a, n_b in product(range(1, 13), repeat=2):
        nearest = np.column_stack(project(n_a, rate, n_b, rates_b, line))
        e_values = all_e_values(n_a, n_b, rate, PROCESSES[process])
        means = np.diag(expectations(e_values, n_a, n_b, nearest))
        assert means[bets] == pytest.approx(1.0, abs=1e-12)


BORDERS = [
    Line(1.0, 0.05),
    Line(1.0, -0.05),
    Line(1.0, 0.3),
    Line(1.0, -0.0003),
    Line(1.0, 2e-7),
    Line(1.4, 0.004),
    Line(1.4, -0.07),
    Line(0.5, 0.0008),
    Line(0.3, -0.0003),
    Line(2.0),
    Line(0.7),
]
NUMBERS = [(1, 1), (100, 5), (5, 100), (10_000, 20), (20, 10_000), (300, 400)]


def nearest(n_a: float, rate_a: float, n_b: float, rate_b: float, line: Line) -> float:
    """Find where the derivative of the divergence along the line is 0, as it is written down."""

    def derivative(a: float) -> float:
        b = line.at(a)
        of_a, of_b = (a - rate_a) / (a * (1.0 - a)), (b - rate_b) / (b * (1.0 - b))
        return n_a * of_a + line.slope * n_b * of_b

    low, high = max(0.0, -line.shift / line.slope), min(1.0, (1.0 - line.shift) / line.slope)
    return float(brentq(derivative, low + 1e-15, high - 1e-15, xtol=1e-16))


@pytest.mark.parametrize("line", BORDERS, ids=lambda line: f"{line.slope}, {line.shift}")
def test_the_projection_is_the_nearest_point_of_the_line(line: Line) -> None:
    cases = list(product(NUMBERS, [1e-6, 0.0005, 0.05, 0.5, 0.93, 0.998]))
    deltas = np.array([-6.4, -1.6, -0.1, 0.0, 0.1, 1.6, 6.4])
    rows = [(n_a, rate, n_b) for (n_a, n_b), rate in cases]
    n_a, rate_a, n_b = (column[:, np.newaxis] for column in np.array(rows, dtype=float).T)
    rates_b = shift_odds(rate_a, deltas)

    among_many = project(n_a, rate_a, n_b, rates_b, line)

    for row, (n, rate, m) in enumerate(rows):
        expected = [nearest(n, rate, m, float(b), line) for b in rates_b[row]]
        alone = project(n, rate, m, rates_b[row], line)
        assert alone[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert among_many[0][row] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert alone[1] == pytest.approx([line.at(a) for a in expected], rel=1e-9, abs=1e-12)
        assert among_many[1][row] == pytest.approx(alone[1], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("line", BORDERS[:9], ids=lambda line: f"{line.slope}, {line.shift}")
def test_for_many_runs_a_few_steps_find_it(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halving would take fifty; a simulation of thousands of runs waits for each step."""
    steps, score = [], eprocess._score

    def counted(*args: Any, **more: Any) -> Any:
        steps.append(args)
        return score(*args, **more)

    monkeypatch.setattr(eprocess, "_score", counted)
    n_a, n_b, rate_a = (
        column[:, np.newaxis]
        for column in np.array([(*n, a) for n in NUMBERS for a in (0.0005, 0.05, 0.5, 0.93)]).T
    )

    project(n_a, rate_a, n_b, shift_odds(rate_a, np.array([-1.6, -0.1, 0.1, 1.6])), line)

    assert len(steps) <= 12
    project(n_a, rate_a, n_b, rate_a, Line(2.0))
    assert len(steps) <= 12, "through the origin it is a formula"


def test_evidence_grows_on_average_where_the_alternative_is_true() -> None:
    deltas = harm_mixture(1).deltas
    truths = np.column_stack([np.full(len(deltas), 0.2), shift_odds(0.2, deltas)])

    means = np.diag(expectations(all_e_values(6, 5, 0.2, PROCESSES["harm"]), 6, 5, truths))

    assert (means > 1.0).all()


def test_for_rare_events_it_is_the_conditional_binomial_ratio() -> None:
    n_a, x_a, n_b, x_b, rate = 9_000_000, 41, 1_000_000, 9, 5e-6
    deltas = np.log([2.0, 10.0])
    share = n_b / (n_a + n_b)

    log_e = log_e_values((n_a, x_a, n_b, x_b), rate, deltas, Line(), 1)

    ratio = np.exp(deltas)
    conditional = x_b * deltas - (x_a + x_b) * np.log(1 - share + share * ratio)
    assert log_e == pytest.approx(conditional, abs=0.01)


def test_an_alternative_on_the_nulls_side_never_counts() -> None:
    deltas = np.array([0.05, 3.0])

    log_e = log_e_values((100, 1, 100, 50), 0.01, deltas, Line(2.0), 1)

    assert log_e[0] == 0.0
    assert log_e[1] > 0.0


@pytest.mark.parametrize(("margin", "rate_b", "beyond"), [(0.05, 0.22, 1), (-0.05, 0.18, -1)])
def test_an_alternative_within_an_absolute_margin_never_speaks_for_beyond_it(
    margin: float, rate_b: float, beyond: int
) -> None:
    counts, delta = (100, 20, 100, 20), np.array([log_odds(rate_b) - log_odds(0.2)])

    assert log_e_values(counts, 0.2, delta, Line(1.0, margin), beyond) == [0.0]
    assert log_e_values(counts, 0.2, delta, Line(1.0, margin), -beyond) > [0.0]


def test_an_alternative_on_the_line_is_none() -> None:
    assert log_e_values((100, 1, 100, 50), 0.25, np.array([0.0]), Line(), 1) == [0.0]


@pytest.mark.parametrize("counts", [(0, 0, 50, 3), (50, 3, 0, 0)])
def test_one_arm_alone_proves_nothing(counts: tuple[int, int, int, int]) -> None:
    assert not log_e_values(counts, 0.01, harm_mixture(1).deltas, Line(), 1).any()


@pytest.mark.parametrize("counts", [(1, 0, 9, 9), (9, 0, 1, 1), (1, 0, 1, 1)])
def test_a_single_request_of_an_arm_is_evidence(counts: tuple[int, int, int, int]) -> None:
    assert (log_e_values(counts, 0.01, harm_mixture(1).deltas, Line(), 1) > 0.0).all()


@pytest.mark.parametrize("line", [Line(), Line(1.0, 0.05)])
def test_of_many_runs_those_with_both_arms_have_evidence_and_the_others_none(line: Line) -> None:
    deltas = harm_mixture(1).deltas
    counts = [(100, 1, 50, 9), (0, 0, 50, 9), (100, 1, 0, 0), (0, 0, 0, 0), (7, 0, 8, 8)]
    n_a, x_a, n_b, x_b = (column[:, np.newaxis] for column in np.array(counts, dtype=float).T)

    log_e = log_e_values((n_a, x_a, n_b, x_b), np.full((5, 1), 0.01), deltas, line, 1)

    alone = [log_e_values(row, 0.01, deltas, line, 1) for row in counts]
    assert log_e == pytest.approx(np.array(alone), rel=1e-9)
    assert not log_e[1:4].any()
    assert log_e[0].any()


@pytest.mark.parametrize(
    "line", [Line(), Line(2.0), Line(1.0, 0.3), Line(1.0, -0.3), Line(0.7, -0.01)]
)
@pytest.mark.parametrize("rate", [1e-9, 1e-4, 0.5, 1 - 1e-9])
@pytest.mark.parametrize("counts", [(10**9, 0, 1, 1), (1, 1, 10**9, 0), (10**9, 10**9, 10**9, 0)])
def test_extreme_counts_and_rates_stay_finite(
    line: Line, rate: float, counts: tuple[int, int, int, int]
) -> None:
    n_a, x_a, n_b, x_b = (np.full((1, 1), float(each)) for each in counts)
    for side in (1, -1):
        deltas = harm_mixture(side).deltas
        assert np.isfinite(log_e_values(counts, rate, deltas, line, side)).all()
        among_many = log_e_values((n_a, x_a, n_b, x_b), np.full((1, 1), rate), deltas, line, side)
        assert np.isfinite(among_many).all()


def test_the_mixtures_are_the_published_ones() -> None:
    harm, safe = harm_mixture(1), noninferiority_mixture(0.5)
    better = superiority_mixture(0.2, -1)

    assert harm.deltas == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4])
    assert np.exp(harm.log_weights) * 21 == pytest.approx([1, 1, 2, 3, 5, 5, 3, 1])
    assert safe.deltas == pytest.approx([0.0, 0.2, -0.25, -0.75])
    assert np.exp(safe.log_weights) == pytest.approx([0.6, 0.2, 0.1, 0.1])
    assert better.deltas == pytest.approx([-0.1, -0.2, -0.4, -0.8, -1.6, -3.2, -0.2])
    assert np.exp(better.log_weights[-1]) == pytest.approx(0.7)
    assert np.exp(superiority_mixture(None, 1).log_weights) == pytest.approx([1 / 7] * 7)


def test_superiority_doubles_from_its_least_effect_as_long_as_odds_are_within_64() -> None:
    half = log(64.0) / 2.0

    assert superiority_mixture(None, 1).deltas == pytest.approx([0.05 * 2**j for j in range(7)])
    assert superiority_mixture(0.999 * half, 1).deltas == pytest.approx(
        [share * 0.999 * half for share in (0.5, 1.0, 2.0, 1.0)]
    )
    assert superiority_mixture(1.001 * half, -1).deltas == pytest.approx(
        [share * -1.001 * half for share in (0.5, 1.0, 1.0)]
    )
    assert superiority_mixture(20.0, 1).deltas == pytest.approx([10.0, 20.0])


def test_the_e_value_of_a_mixture_is_the_average_of_its_parts_by_weight() -> None:
    mixture = Mixture.of(np.array([0.1, 0.2]), np.array([1.0, 3.0]))
    evidence = np.log([8.0, 2.0])

    assert mixture.log_e(evidence) == pytest.approx(log(0.25 * 8.0 + 0.75 * 2.0))
    assert mixture.log_e(np.zeros(2)) == pytest.approx(0.0)
    runs = mixture.log_e_of_runs(np.array([evidence, evidence + 1.0, [0.0, 0.0]]))
    assert runs == pytest.approx([log(3.5), log(3.5) + 1.0, 0.0])


def test_sums_of_what_no_number_could_hold_are_logarithms() -> None:
    assert log_sum_exp(np.array([5000.0, 5000.0 + log(3.0)])) == pytest.approx(5000.0 + log(4.0))
    assert log_sum_exp(np.array([-5000.0, -9000.0])) == -5000.0
    each_row = log_sums_exp(np.array([[1.0, 1.0], [-5000.0, 2.0], [1700.0, 1710.0]]))
    assert each_row == pytest.approx([1.0 + log(2.0), 2.0, 1710.0 + log1p(exp(-10.0))])


def test_the_prediction_forgets_by_half_in_sixty_buckets() -> None:
    centre = Centre.at(0.01)

    for _ in range(60):
        centre = centre.after(0, 0)

    assert centre.requests == pytest.approx(100.0)
    assert centre.rate == pytest.approx(0.01)
    assert centre.after(100, 3).rate == pytest.approx(
        (0.5 ** (1 / 60) + 3) / (100 * 0.5 ** (1 / 60) + 100)
    )


@pytest.mark.parametrize(("known", "kept"), [(0.0, 1e-9), (1e-12, 1e-9), (1.0, 1.0 - 1e-9)])
def test_the_prediction_is_kept_off_none_and_all(known: float, kept: float) -> None:
    assert Centre.at(known).rate == kept
    assert clip_rate(known) == kept


def test_log_odds_and_shifting_are_inverse() -> None:
    shifted = float(shift_odds(0.02, np.array([1.3]))[0])

    assert log_odds(shifted) - log_odds(0.02) == pytest.approx(1.3)
