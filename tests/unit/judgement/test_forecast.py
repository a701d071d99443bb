"""A forecast is what the operator would do, run by run, and keeps what the rule promises."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from math import inf
from typing import Any, cast

import numpy as np
import pytest
from numpy.random import Generator

from shieldx.judgement.engine import doubtful, question
from shieldx.judgement.forecast import Forecast, Scenario, forecast
from shieldx.resources.shadowexperiment import Margin, ShadowExperimentSpec
from shieldx.stats import DecisionEngine, Verdict
from tests.support.experiments import SPEC

ERRORS = ShadowExperimentSpec.parse(SPEC)
TWO = replace(
    ERRORS,
    guardrails=(
        *ERRORS.guardrails,
        replace(ERRORS.guardrails[0], name="slow", margin=Margin(0, 1)),
    ),
)
DAY = timedelta(days=1)


class Noted:
    """Dice that note what they show, for one run."""

    def __init__(self, dice: Generator) -> None:
        self._dice = dice
        self.shown: list[float] = []

    def poisson(self, mean: Any) -> Any:
        return self._note(self._dice.poisson(mean))

    def binomial(self, n: Any, p: Any) -> Any:
        return self._note(self._dice.binomial(n, p))

    def _note(self, values: Any) -> Any:
        self.shown.append(float(values[0]))
        return values


def foretold(spec: ShadowExperimentSpec, rates: Any, dice: Any, **more: Any) -> Forecast:
    asked: dict[str, Any] = {"requests_per_second": 30.0, "runs": 1, "horizon": DAY, **more}
    base_rates = {name: rate for name, (rate, _) in rates.items()}
    scenario = Scenario("tried", rates)
    return forecast(spec, [scenario], dice, base_rates=base_rates, **asked)[0]


def lived(spec: ShadowExperimentSpec, base_rates: Any, shown: Sequence[float]) -> tuple[str, float]:
    """Tell the same run again with the operator's own engine, and rules written anew."""
    specs, asked = question(spec, 0, base_rates)
    engine = DecisionEngine(specs, **asked)
    bucket, hand = spec.decision.bucket.total_seconds(), list(shown)
    step, reached, end = 0, 0.0, 0.0
    while hand:
        n_a, n_b = hand.pop(0), hand.pop(0)
        bad = [(hand.pop(0), hand.pop(0)) for _ in spec.guardrails]
        start, end = end, end + bucket
        if start < reached + spec.settle.total_seconds():
            continue
        report = engine.update([*((n_a, x_a, n_b, x_b) for x_a, x_b in bad), None], end)
        if report.verdict is Verdict.ROLLBACK:
            return "rolled back", end
        due = end >= reached + spec.steps[step].hold.total_seconds() and n_a * n_b > 0
        if not due or doubtful(report):
            continue
        if step + 1 < len(spec.steps):
            step, reached = step + 1, end
        elif (
            report.verdict is Verdict.PROMOTE and end >= spec.decision.min_duration.total_seconds()
        ):
            return "promoted", end
    return "open", inf


@pytest.mark.parametrize("spec", [ERRORS, TWO])
@pytest.mark.parametrize("factor", [1.0, 1.6, 3.0])
def test_each_run_ends_as_the_operator_would_end_it(
    spec: ShadowExperimentSpec, factor: float
) -> None:
    rates = {each.name: (0.01, 0.01 * factor) for each in spec.guardrails}
    for _ in range(3):
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        dice = Noted(np.random.default_rng(seed))
        told = foretold(spec, rates, cast("Generator", dice), horizon=timedelta(hours=1))

        ended, after = lived(spec, dict.fromkeys(rates, 0.01), dice.shown)

        times = {"promoted": told.promoted.median, "rolled back": told.rolled_back.median}
        assert [name for name, at in times.items() if at < inf] == (
            [] if ended == "open" else [ended]
        ), f"seed {seed}"
        assert min(times.values()) == after, f"seed {seed}"


def test_scenarios_of_one_crowd_do_not_mix() -> None:
    scenarios = [
        Scenario("equal", {"errors": (0.01, 0.01)}),
        Scenario("bad", {"errors": (0.01, 0.05)}),
        Scenario("better", {"errors": (0.01, 0.001)}),
    ]
    equal, bad, better = forecast(
        ERRORS,
        scenarios,
        np.random.default_rng(),
        base_rates={"errors": 0.01},
        requests_per_second=100,
        runs=60,
        horizon=DAY,
    )

    assert bad.rolled_back.rate.hits == 60
    assert bad.rolled_back.late < 300
    assert equal.promoted.rate.hits >= 57  # one in a hundred is rolled back
    assert better.promoted.rate.hits == 60
    assert better.promoted.median <= equal.promoted.median
    assert equal.undecided.hits == bad.undecided.hits == better.undecided.hits == 0


def test_a_promotion_at_the_margin_is_as_rare_as_promised() -> None:
    """Risk 1 %: more than 14 in 400 comes by chance once in 10,000."""
    told = foretold(
        ERRORS,
        {"errors": (0.01, 0.02)},
        np.random.default_rng(),
        runs=400,
        requests_per_second=100.0,
    )

    assert told.promoted.rate.hits <= 14
    assert told.rolled_back.rate.share > 0.9


def test_without_traffic_nothing_is_decided() -> None:
    told = foretold(
        ERRORS,
        {"errors": (0.01, 0.5)},
        np.random.default_rng(),
        runs=50,
        requests_per_second=0.0,
        horizon=timedelta(minutes=20),
    )

    assert told.undecided.hits == 50
    assert told.promoted.median == told.rolled_back.median == inf


def test_with_too_little_effort_one_looks_less_far_and_says_so() -> None:
    told = foretold(
        ERRORS,
        {"errors": (0.01, 0.02)},
        np.random.default_rng(),
        runs=300,
        requests_per_second=1.0,
        effort=3000,
    )

    assert told.seconds == 100.0
    assert told.undecided.hits == 300
