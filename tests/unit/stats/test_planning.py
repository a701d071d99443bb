"""What is said before an experiment is what happens in it."""

from math import inf
from typing import Any

import numpy as np
import pytest

from shieldx.stats import MetricSpec, Rate, operating_characteristics, requests_to_decide

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


@pytest.mark.parametrize("bad", [{"share": 0.0}, {"risk": 1.0}, {"quantile": -0.1}])
def test_what_is_no_share_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is between"):
        requests_to_decide(ERRORS, **bad)


def test_the_interval_of_a_rate_is_clopper_and_pearsons() -> None:
    assert Rate(0, 100).interval == pytest.approx((0.0, 0.0362167), abs=1e-6)
    assert Rate(5, 100).interval == pytest.approx((0.0164319, 0.1128349), abs=1e-6)
    assert Rate(100, 100).interval == pytest.approx((0.9637833, 1.0), abs=1e-6)
