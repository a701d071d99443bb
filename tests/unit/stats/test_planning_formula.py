"""The formula of a plan against its twin, written from Wald's with scipy's distribution."""

from math import inf, log
from typing import Any

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import invgauss

from shieldx.stats import MetricSpec, requests_missing, requests_to_decide
from shieldx.stats.eprocess import (
    Floats,
    Line,
    Mixture,
    harm_mixture,
    noninferiority_mixture,
    project,
    shift_odds,
    superiority_mixture,
)
from shieldx.stats.planning import Race, race
from shieldx.stats.streams import Streams

ERRORS = MetricSpec("errors", base_rate=0.01, margin_rel=1.0, tolerance_rel=0.4, mde=0.3)
ORDERS = MetricSpec("orders", "higher", 0.05, margin_rel=0.0, margin_abs=0.01, mde=0.2)


def question(spec: MetricSpec, evidence: str, rate: float) -> tuple[Mixture, Line]:
    worse = 1 if spec.better == "lower" else -1
    if evidence == "harm":
        return harm_mixture(worse), spec.tolerated
    if evidence == "noninferiority":
        return noninferiority_mixture(spec.margin_log_odds), spec.margin_at(rate)
    return superiority_mixture(spec.effect_log_odds, -worse), Line()


def walk(
    spec: MetricSpec, evidence: str, rate_a: float, rate_b: float, share: float
) -> tuple[Floats, Floats]:
    """What one request adds to each alternative, on average and in variance; 0 to one that is none.

    An alternative on the null's own side of the line is none.
    """
    mixture, line = question(spec, evidence, rate_a)
    bet = shift_odds(rate_a, mixture.deltas)
    null_a, null_b = project(1.0 - share, rate_a, share, bet, line)
    right_side = (bet > line.at(rate_a)) == ((evidence == "harm") == (spec.better == "lower"))
    drift = (1.0 - share) * np.log((1.0 - rate_a) / (1.0 - null_a))
    drift += share * np.log((1.0 - bet) / (1.0 - null_b))
    of_a, of_b = logit(rate_a) - logit(null_a), logit(bet) - logit(null_b)
    drift += (1.0 - share) * rate_a * of_a + share * rate_b * of_b
    scatter = (1.0 - share) * rate_a * (1.0 - rate_a) * of_a**2
    scatter += share * rate_b * (1.0 - rate_b) * of_b**2
    return np.where(right_side, drift, 0.0), scatter


def twin(
    spec: MetricSpec,
    evidence: str,
    rate_a: float,
    rate_b: float,
    *,
    risk: float = 0.01,
    share: float = 0.5,
    quantile: float = 0.5,
) -> float:
    mixture, _ = question(spec, evidence, rate_a)
    drift, scatter = walk(spec, evidence, rate_a, rate_b, share)
    grows = drift > 0.0
    if not grows.any():
        return inf
    helped, best = np.zeros_like(drift), inf
    for _ in range(3):
        needed = np.maximum(log(1.0 / risk) - mixture.log_weights - helped, 1e-9)
        mean, shape = needed[grows] / drift[grows], needed[grows] ** 2 / scatter[grows]
        best = float(np.min(invgauss.ppf(quantile, mean / shape, scale=shape)))
        parts = mixture.log_weights + best * drift
        helped = np.full_like(drift, np.log(np.exp(parts - parts.max()).sum()))
    return best


@pytest.mark.parametrize("spec", [ERRORS, ORDERS], ids=["lower", "higher"])
@pytest.mark.parametrize(
    ("evidence", "factor"),
    [
        ("harm", 2.5),
        ("noninferiority", 1.0),
        ("noninferiority", 1.05),
        ("superiority", 0.7),
    ],
)
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"risk": 0.001},
        {"risk": 0.9},
        {"share": 0.1},
        {"quantile": 0.9},
        {"quantile": 0.05, "share": 0.9},
    ],
    ids=lambda asked: " ".join(asked) or "median",
)
def test_a_plan_is_walds(
    spec: MetricSpec, evidence: Any, factor: float, asked: dict[str, float]
) -> None:
    worse = factor if spec.better == "lower" else 1.0 / factor
    rates = spec.base_rate, spec.base_rate * worse

    planned = requests_to_decide(spec, evidence, challenger_rate=rates[1], **asked)

    assert planned == pytest.approx(twin(spec, evidence, *rates, **asked), rel=1e-6)


def test_the_champions_rate_is_the_base_rate_unless_it_is_known_better() -> None:
    known = requests_to_decide(ERRORS, champion_rate=0.02)
    differs = requests_to_decide(ERRORS, champion_rate=0.02, challenger_rate=0.025)

    assert requests_to_decide(ERRORS) == requests_to_decide(ERRORS, champion_rate=0.01)
    assert known == pytest.approx(twin(ERRORS, "noninferiority", 0.02, 0.02), rel=1e-6)
    assert differs == pytest.approx(twin(ERRORS, "noninferiority", 0.02, 0.025), rel=1e-6)


@pytest.mark.parametrize("spec", [ERRORS, ORDERS], ids=["lower", "higher"])
@pytest.mark.parametrize(
    ("evidence", "factor"), [("harm", 2.5), ("noninferiority", 1.05), ("superiority", 0.7)]
)
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_what_is_missing_takes_the_fastest_alternative_and_the_present_rates(
    spec: MetricSpec, evidence: Any, factor: float, share: float
) -> None:
    worse = factor if spec.better == "lower" else 1.0 / factor
    rates = 0.02, 0.02 * worse

    told = requests_missing(
        spec,
        evidence,
        1.5,
        champion_rate=rates[0],
        challenger_rate=rates[1],
        risk=0.001,
        share=share,
    )

    drift, _ = walk(spec, evidence, *rates, share)
    assert told == pytest.approx((log(1000.0) - 1.5) / drift.max(), rel=1e-9)


def test_nothing_is_missing_of_what_is_there_and_what_does_not_grow_is_missing_for_ever() -> None:
    def missing(log_e: float, challenger_rate: float) -> float:
        return requests_missing(
            ERRORS,
            "noninferiority",
            log_e,
            champion_rate=0.01,
            challenger_rate=challenger_rate,
            risk=0.01,
            share=0.5,
        )

    assert missing(log(100.0), 0.01) == missing(log(100.0) + 1.0, 0.01) == 0.0
    assert missing(log(100.0), 0.03) == 0.0
    assert missing(log(100.0) - 0.5, 0.03) == inf
    assert 2.0 * missing(log(100.0) - 0.5, 0.01) == pytest.approx(missing(log(100.0) - 1.0, 0.01))


def test_of_harm_that_nobody_would_bet_on_everything_is_missing_for_ever() -> None:
    rates = {"champion_rate": 0.01, "challenger_rate": 0.005}

    assert requests_missing(ERRORS, "harm", 0.0, **rates, risk=0.01, share=0.5) == inf


def test_where_no_alternative_grows_it_takes_for_ever() -> None:
    assert requests_to_decide(ERRORS, "harm", challenger_rate=0.008) == inf
    assert requests_to_decide(ERRORS, "superiority", challenger_rate=0.012) == inf
    assert twin(ERRORS, "harm", 0.01, 0.008) == inf


@pytest.mark.parametrize("name", ["risk", "share", "quantile"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, 1.5])
def test_a_share_lies_between_nothing_and_all(name: str, value: float) -> None:
    asked: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} is between 0 and 1"):
        requests_to_decide(ERRORS, **asked)


class TestRaces:
    """Four runs: harmed, harmless, harmed after a promotion, and one that sees nobody."""

    BAD = (1500, np.array([15, 15, 15, 0]), np.array([1500, 1500, 1500, 0]))
    FIRST, LATER = np.array([400, 15, 15, 0]), np.array([400, 15, 1500, 0])

    def streams(self) -> Streams:
        return Streams([ERRORS], 4)

    def rows(self, good: int, then: int) -> list[Any]:
        n_a, x_a, n_b = self.BAD
        first, later = (n_a, x_a, n_b, self.FIRST), (n_a, x_a, n_b, self.LATER)
        return [[first]] * good + [[later]] * then

    def test_each_run_is_told_in_which_bucket_it_came_to_a_verdict(self) -> None:
        result = race(self.streams(), self.rows(20, 5), 4)

        assert result.rolled_back[0] == 1
        assert result.promoted[0] == inf
        assert result.promoted[1] == result.promoted[2]
        assert 1 < result.promoted[1] < 20
        assert result.rolled_back[1] == inf
        assert 20 < result.rolled_back[2] < 25
        assert (result.rolled_back[3], result.promoted[3]) == (inf, inf)

    def test_the_first_verdict_is_the_one_that_counts(self) -> None:
        result = race(self.streams(), self.rows(20, 5), 4)

        assert (result.rollbacks.hits, result.promotions.hits) == (1, 2)
        assert result.rollbacks.runs == result.promotions.runs == 4
        assert (result.rollbacks.share, result.promotions.share) == (0.25, 0.5)

    def test_a_promotion_waits_for_its_minimum_and_a_rollback_does_not(self) -> None:
        result = race(self.streams(), self.rows(20, 5), 4, min_buckets=19)

        assert (result.rolled_back[0], result.promoted[1]) == (1, 19)
        assert race(self.streams(), self.rows(20, 0), 4, min_buckets=21).promotions.hits == 0

    def test_it_ends_when_all_are_at_a_verdict(self) -> None:
        asked = []

        def rows() -> Any:
            for row in self.rows(40, 0):
                asked.append(row)
                (n_a, x_a, n_b, x_b) = row[0]
                yield [(n_a, x_a[:2], n_b[:2], x_b[:2])]

        result = race(Streams([ERRORS], 2), rows(), 2)

        assert len(asked) == max(result.rolled_back[0], result.promoted[1])

    def test_of_two_verdicts_the_earlier_counts_and_of_two_at_once_the_rollback(self) -> None:
        rolled_back = np.array([1.0, 3.0, inf, 4.0, inf])
        promoted = np.array([5.0, 3.0, 2.0, inf, inf])

        result = Race(rolled_back, promoted)

        assert (result.rollbacks.hits, result.promotions.hits) == (3, 1)

    def test_without_a_minimum_the_first_bucket_may_promote(self) -> None:
        (sure,) = race(Streams([ERRORS], 1), [[(90_000, 900, 90_000, 900)]], 1).promoted

        assert sure == 1
