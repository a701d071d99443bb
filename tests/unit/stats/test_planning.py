"""What is said before an experiment is what happens in it."""

from math import inf
from typing import Any

import numpy as np
import pytest

from shieldx.stats import MetricSpec, Rate, operating_characteristics, requests_to_decide
from shieldx.stats.planning import race
from shieldx.stats.streams import Streams

ERRORS = MetricSpec("errors", base_rate=0.005, margin_rel=0.0, margin_abs=0.005)


def characteristics(rates: tuple[float, float], **more: Any) -> Any:
    dice = np.random.default_rng()
    return operating_characteristics(
        [ERRORS], [rates], dice, requests_per_bucket=400, buckets=120, runs=400, **more
    )


def test_the_plan_is_the_median_and_the_p90_of_what_is_simulated() -> None:
    """400 runs: the median is 7,300 give or take 3 % (one sigma), p90 16,000 give or take 4 %."""
    simulated = characteristics((0.005, 0.005))

    median, late = (requests_to_decide(ERRORS, quantile=q) for q in (0.5, 0.9))

    assert simulated.requests_to_promote == pytest.approx((median, late), rel=0.25)
    assert simulated.promoted.share > 0.95


def test_ten_times_the_errors_go_quickly() -> None:
    simulated = characteristics((0.005, 0.05), bucket_share=1 / 3)

    assert simulated.rolled_back.share == 1.0
    assert simulated.promoted.hits == 0
    assert simulated.requests_to_promote == (inf, inf)
    assert simulated.requests_to_roll_back[1] <= 3200
    assert requests_to_decide(ERRORS, "harm", challenger_rate=0.05) < 700


def test_less_traffic_for_the_challenger_takes_more_requests() -> None:
    half, tenth = (requests_to_decide(ERRORS, share=share) for share in (0.5, 0.1))

    assert 2 * half < tenth < 5 * half


def test_superiority_is_planned_for_the_declared_effect() -> None:
    orders = MetricSpec("orders", "higher", 0.05, mde=0.2)

    better = requests_to_decide(orders, "superiority", challenger_rate=0.06)
    twice = requests_to_decide(orders, "superiority", challenger_rate=0.07)

    assert 2.5 * twice < better < 6 * twice


def test_evidence_that_does_not_grow_takes_for_ever() -> None:
    assert requests_to_decide(ERRORS, challenger_rate=0.011) == inf
    assert requests_to_decide(ERRORS, "harm") == inf


def test_a_ramp_is_simulated_bucket_by_bucket() -> None:
    asked: list[int] = []

    def ramp(bucket: int) -> float:
        asked.append(bucket)
        return 0.05 if bucket < 30 else 0.5

    ramped = characteristics((0.005, 0.005), share=ramp)

    assert asked == list(range(len(asked)))
    assert ramped.requests_to_promote[0] > characteristics((0.005, 0.005)).requests_to_promote[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "superiority"},
        {"rollback_risk": 1e-6},
        {"promotion_risk": 1e-6},
        {"min_buckets": 10},
        {"bucket_share": 0.25},
        {"reserve": 0.4},
    ],
    ids=lambda options: next(iter(options), "default"),
)
def test_what_is_simulated_is_a_race_of_what_the_dice_roll(options: dict[str, Any]) -> None:
    """Two metrics; 3200 requests of the champion and 800 of the challenger a bucket, 30 times."""
    orders = MetricSpec("orders", "higher", 0.1, margin_rel=0.3, mde=0.3, primary=True)
    specs, rates, runs = [ERRORS, orders], [(0.005, 0.0075), (0.1, 0.11)], 40

    told = operating_characteristics(
        specs,
        rates,
        np.random.default_rng(7),
        requests_per_bucket=4000,
        buckets=30,
        share=0.2,
        runs=runs,
        **options,
    )

    dice = np.random.default_rng(7)
    rows = [
        [(3200, dice.binomial(3200, a, runs), 800, dice.binomial(800, b, runs)) for a, b in rates]
        for _ in range(30)
    ]
    at_least = options.get("min_buckets", 1)
    asked = {name: value for name, value in options.items() if name != "min_buckets"}
    raced = race(Streams(specs, runs, **asked), rows, runs, min_buckets=at_least)
    first = np.minimum(raced.promoted, raced.rolled_back)
    ends = np.isfinite(first)
    safe = raced.promoted < raced.rolled_back
    assert (told.promoted, told.rolled_back) == (raced.promotions, raced.rollbacks)
    assert told.requests_to_promote == pytest.approx(
        4000 * np.quantile(first[ends & safe], [0.5, 0.9])
    )
    assert told.requests_to_roll_back == pytest.approx(
        4000 * np.quantile(first[ends & ~safe], [0.5, 0.9])
    )


def test_a_thousand_runs_are_simulated_unless_told_otherwise() -> None:
    told = operating_characteristics(
        [ERRORS],
        [(0.005, 0.005)],
        np.random.default_rng(),
        requests_per_bucket=200_000,
        buckets=1,
    )

    assert told.promoted.runs == told.rolled_back.runs == 1000
    assert told.promoted.share > 0.9
    assert told.requests_to_promote == (200_000.0, 200_000.0)


def test_what_is_safe_and_harmful_at_once_is_rolled_back() -> None:
    guard = MetricSpec("guard", harm_only=True)

    told = operating_characteristics(
        [ERRORS, guard],
        [(0.005, 0.005), (0.01, 0.5)],
        np.random.default_rng(),
        requests_per_bucket=200_000,
        buckets=2,
        runs=50,
    )

    assert (told.promoted.hits, told.rolled_back.hits) == (0, 50)
    assert told.requests_to_promote == (inf, inf)
    assert told.requests_to_roll_back == (200_000.0, 200_000.0)


@pytest.mark.parametrize("bad", [{"share": 0.0}, {"risk": 1.0}, {"quantile": -0.1}])
def test_what_is_no_share_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is between"):
        requests_to_decide(ERRORS, **bad)


def test_the_interval_of_a_rate_is_clopper_and_pearsons() -> None:
    assert Rate(0, 100).interval == pytest.approx((0.0, 0.0362167), abs=1e-6)
    assert Rate(5, 100).interval == pytest.approx((0.0164319, 0.1128349), abs=1e-6)
    assert Rate(100, 100).interval == pytest.approx((0.9637833, 1.0), abs=1e-6)
