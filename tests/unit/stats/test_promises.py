"""The quick form of `make proofs`: the bounds that the product is sold with, in seconds.

Each rate is held to a number of hits that a rule which just keeps its bound exceeds with
probability FALSE_ALARM, and that a rule with twice that error rate exceeds with probability
POWER or more; both are computed by the test itself.
"""

from itertools import product
from math import exp

import numpy as np
import pytest
from scipy.stats import binom

from shieldx.stats import DecisionEngine, MetricSpec, Rate, eprocess
from shieldx.stats.eprocess import Floats, Line, Numbers
from tests.proofs.enumeration import (
    GRID,
    SPECS,
    largest_expectations,
    largest_expectations_after_jumps,
)
from tests.proofs.outages import LATER, OUTAGES, course
from tests.proofs.promises import lone
from tests.proofs.traffic import Traffic

FALSE_ALARM = 1e-4
POWER = 0.99
RUNS = 6000
BOUND = 0.01
NEVER = 1e-300


def seed() -> int:
    return int(np.random.SeedSequence().generate_state(1)[0])


def false_rollbacks(dice: np.random.Generator) -> Rate:
    """Identical versions under ramp and tenfold drift, 60 looks, at the default risk."""
    traffic = Traffic(RUNS, 60, 1000)
    spec = MetricSpec("errors", base_rate=0.005)
    buckets = traffic.ramped(dice, 0.005, 1.0, 10.0)
    return lone(spec, buckets, traffic, promotion_risk=NEVER).rollbacks


def false_promotions(dice: np.random.Generator) -> Rate:
    """The truth on the margin under ramp and tenfold drift, 60 looks, at the default risk."""
    traffic = Traffic(RUNS, 60, 1000)
    spec = MetricSpec("errors", base_rate=0.005, margin_rel=1.0)
    buckets = traffic.ramped(dice, 0.005, 2.0, 10.0)
    return lone(spec, buckets, traffic, rollback_risk=NEVER).promotions


def false_promotions_after_an_outage(dice: np.random.Generator) -> Rate:
    """The truth on the margin, a minute's outage of both, 40 looks, a tenth kept back."""
    outage = OUTAGES[3]
    buckets = outage.buckets(dice, RUNS, on_margin=True, last=40)
    return Rate(int(np.isfinite(course(outage, buckets, RUNS).promoted).sum()), RUNS)


def false_rollbacks_after_an_outage(dice: np.random.Generator) -> Rate:
    """Identical versions, a minute's outage of both, 40 looks, a tenth kept back."""
    outage = OUTAGES[3]
    buckets = outage.buckets(dice, RUNS, last=40)
    return Rate(int(np.isfinite(course(outage, buckets, RUNS).rolled_back).sum()), RUNS)


def allowed() -> int:
    return int(binom.isf(FALSE_ALARM, RUNS, BOUND))


def test_the_quick_form_would_see_a_doubled_error_rate() -> None:
    assert binom.sf(allowed(), RUNS, BOUND) <= FALSE_ALARM
    assert binom.sf(allowed(), RUNS, 2 * BOUND) >= POWER


@pytest.mark.parametrize(
    "errors",
    [
        false_rollbacks,
        false_promotions,
        false_rollbacks_after_an_outage,
        false_promotions_after_an_outage,
    ],
)
def test_the_bounds_hold(errors: object) -> None:
    """False alarm 1e-4 at most, twice the bound is seen with 99 % or more."""
    rolled = seed()

    hits = errors(np.random.default_rng(rolled)).hits  # type: ignore[operator]

    assert hits <= allowed(), f"{hits} of {RUNS}, seed {rolled}"


def test_an_outage_of_both_versions_delays_neither_verdict_for_long() -> None:
    """Without a reserve half of the runs take 44 buckets to promotion, and 55 to roll-back.

    With one, nine of ten are there in time; a rule with which three of four are fails the test
    with probability 1e-9 at most.
    """
    outage, runs, rolled = OUTAGES[2], 200, seed()
    dice = np.random.default_rng(rolled)
    assert binom.cdf(runs // 2, runs, 0.75) <= 1e-9

    twins = course(outage, outage.buckets(dice, runs, last=LATER + 10), runs)
    turned = outage.buckets(dice, runs, turns=outage.bad, last=LATER + 18)
    bad_ones = course(outage, turned, runs)

    assert np.isfinite(twins.promoted).sum() > runs // 2, f"seed {rolled}"
    assert np.isfinite(bad_ones.rolled_back).sum() > runs // 2, f"seed {rolled}"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize(("phi", "share"), [(1.0, 1.0), (2.5, 1 / 3)])
def test_the_engine_makes_no_evidence_out_of_nothing(
    spec: MetricSpec, phi: float, share: float
) -> None:
    assert max(largest_expectations(spec, (0, 1, 4, 12), phi, share)) <= 1.0 + 1e-12


@pytest.mark.parametrize("spec", SPECS[:3], ids=lambda spec: spec.name)
def test_nor_do_two_buckets_though_the_first_predicts_the_second(spec: MetricSpec) -> None:
    """Truths may differ by bucket, each on the border of harm; all 256 outcomes of 3 + 3."""
    outcomes = list(product(range(4), repeat=2))
    line, rates = spec.tolerated, GRID[::4]
    truths = [(a, line.at(a)) for a in rates if line.at(a) <= 1.0]
    e_values = np.zeros((16, 16))
    for (one, first), (two, second) in product(enumerate(outcomes), repeat=2):
        engine = DecisionEngine([spec])
        engine.update([(3, first[0], 3, first[1])], 0)
        report = engine.update([(3, second[0], 3, second[1])], 1)
        e_values[one, two] = exp(report.metrics[spec.name].log_e_harm)

    chance = np.array(
        [[binom.pmf(x_a, 3, a) * binom.pmf(x_b, 3, b) for x_a, x_b in outcomes] for a, b in truths]
    )

    assert (chance @ e_values @ chance.T).max() <= 1.0 + 1e-12


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_nor_does_capital_that_is_kept_back_for_a_jump(spec: MetricSpec) -> None:
    worst = largest_expectations_after_jumps(spec, (16, 2), (2, 2), reserve=0.9)

    assert max(worst) <= 1.0 + 1e-12


def planted(
    n_a: Numbers, rate_a: Numbers, n_b: Numbers, rate_b: Floats, line: Line
) -> tuple[Floats, Floats]:
    """A projection that forgets the weights of the arms: plausible, and wrong."""
    null_a = (rate_a + rate_b) / (1.0 + line.slope) + 0.0 * (n_a + n_b)
    return null_a, np.clip(line.slope * null_a + line.shift, 1e-12, 1.0 - 1e-12)


def test_a_wrong_projection_turns_enumeration_and_rates_red(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eprocess, "project", planted)
    rolled = seed()

    worst = max(largest_expectations(SPECS[0], (1, 4, 12)))
    hits = false_rollbacks(np.random.default_rng(rolled)).hits

    assert worst > 1.0 + 1e-6
    assert hits > allowed(), f"{hits} of {RUNS}, seed {rolled}"
