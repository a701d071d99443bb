"""Pairs: bets that are fair for every joint distribution the claim allows, and quick verdicts."""

import json
from itertools import product
from math import log, nan
from typing import Any

import numpy as np
import pytest

from shieldx.stats import PairedEngine, StateMismatchError, Verdict
from shieldx.stats.pairs import Claim

EQUAL = (1000, 20, 5, 5)
WORSE = (1000, 20, 5, 25)
BETTER = (1000, 20, 25, 5)

CLAIMS = {
    "harm": Claim(-1.0, 1.0),
    "harm beyond a tolerance": Claim(-1.41, 1.0),
    "beyond a relative margin": Claim(1.25, -1.0),
    "beyond an absolute margin": Claim(1.0, -1.0, 0.005),
    "no better": Claim(1.0, -1.0),
}


def after(engine: PairedEngine, *rows: Any) -> PairedEngine:
    for row in rows:
        end = engine.report().last_end
        engine.update(row, 0 if end is None else end + 1)
    return engine


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_joint_distribution_that_the_claim_allows_makes_evidence_on_average(claim: str) -> None:
    of_a, of_b, always = CLAIMS[claim].of_a, CLAIMS[claim].of_b, CLAIMS[claim].always
    bets = np.exp(CLAIMS[claim].log_bets)
    steps = np.linspace(0.0, 1.0, 41)
    allowed = [
        (1.0 - both - a - b, both, a, b)
        for both, a, b in product(steps, repeat=3)
        if both + a + b <= 1.0 and of_a * (both + a) + of_b * (both + b) + always <= 0.0
    ]

    assert len(allowed) > 100
    assert (bets @ np.array(allowed).T).max() <= 1.0 + 1e-12
    assert (bets > 0.0).all()


def test_an_equal_challenger_is_promoted_and_a_worse_one_rolled_back_for_good() -> None:
    engine = PairedEngine(margin_rel=1.0)
    promoted = after(engine, *[EQUAL] * 20).report()

    doomed = after(engine, *[WORSE] * 20, *[EQUAL] * 500).report()

    assert promoted.verdict is Verdict.PROMOTE
    assert promoted.log_e_noninferiority >= log(100)
    assert promoted.pairs == 20_000
    assert doomed.verdict is Verdict.ROLLBACK
    assert doomed.probability_better < 0.01
    assert doomed.interval[0] > 1.0


def test_what_fails_in_both_answers_is_no_evidence_of_harm() -> None:
    report = after(PairedEngine(), *[(1000, 400, 0, 0)] * 10).report()

    assert report.log_e_harm == pytest.approx(0.0, abs=1e-9)


def test_superiority_needs_fewer_failures() -> None:
    level = after(PairedEngine("superiority"), *[EQUAL] * 30).report()
    ahead = after(PairedEngine("superiority"), *[BETTER] * 30).report()

    assert level.verdict is Verdict.CONTINUE
    assert ahead.verdict is Verdict.PROMOTE
    assert ahead.probability_better > 0.99


def test_of_two_margins_the_looser_one_promotes() -> None:
    tight = PairedEngine(margin_rel=0.01)
    both = PairedEngine(margin_rel=0.01, margin_abs=0.03)

    assert after(tight, *[EQUAL] * 5).report().verdict is Verdict.CONTINUE
    assert after(both, *[EQUAL] * 5).report().verdict is Verdict.PROMOTE


def test_no_bucket_is_a_verdict_and_no_promotion_comes_early() -> None:
    outage = (1000, 0, 0, 1000)
    cut = PairedEngine(bucket_share=1 / 3)

    assert after(PairedEngine(), outage).report().verdict is Verdict.ROLLBACK
    assert after(cut, *[outage] * 2).report().verdict is Verdict.CONTINUE
    assert after(cut, *[outage] * 2).report().verdict is Verdict.ROLLBACK
    assert (
        after(PairedEngine(margin_rel=1.0, min_buckets=31), *[EQUAL] * 30).report().verdict
        is Verdict.CONTINUE
    )


def test_dispersion_divides_and_a_tolerance_excuses() -> None:
    plain, noisy = after(PairedEngine(), WORSE), after(PairedEngine(), (*WORSE, 3.0))
    excused = after(PairedEngine(tolerance_rel=1.0), *[WORSE] * 50)

    assert 0.0 < noisy.report().log_e_harm < plain.report().log_e_harm
    assert excused.report().verdict is not Verdict.ROLLBACK


def test_replays_change_nothing_and_restarts_at_every_bucket_are_exact() -> None:
    dice = np.random.default_rng()
    through, broken = PairedEngine(bucket_share=1 / 3), PairedEngine(bucket_share=1 / 3)

    for end in range(50):
        _, both, champion, challenger = dice.multinomial(900, (0.9, 0.05, 0.02, 0.03)).tolist()
        row = (900, both, champion, challenger, 1.2)
        state = json.loads(json.dumps(broken.dump()))
        broken = PairedEngine.load(state, bucket_share=1 / 3)
        report = broken.update(row, end)
        assert report == through.update(row, end)
        assert through.update(WORSE, end) == report

    assert broken.dump() == through.dump()
    assert len(json.dumps(through.dump())) < 2048
    with pytest.raises(StateMismatchError, match="start anew"):
        PairedEngine.load(through.dump(), margin_rel=0.5)


def test_a_verdict_and_the_mode_survive_a_restart() -> None:
    doomed = after(PairedEngine(margin_rel=1.0), *[WORSE] * 20, *[BETTER] * 60)
    level = after(PairedEngine("superiority", margin_rel=1.0), *[EQUAL] * 20)

    again = PairedEngine.load(doomed.dump(), margin_rel=1.0).report()

    assert again == doomed.report()
    assert again.verdict is Verdict.ROLLBACK
    assert again.log_e_harm < log(100)
    assert again.log_e_noninferiority >= log(100)
    still = PairedEngine.load(level.dump(), "superiority", margin_rel=1.0)
    assert still.report().log_e_noninferiority >= log(100)
    assert still.report().verdict is Verdict.CONTINUE


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((100, 1, 1), "pairs are"),
        ((100, 1, nan, 1), "pairs are"),
        ((100, -1, 0, 1), "pairs are"),
        ((10, 5, 5, 5), "more bad pairs than pairs"),
    ],
)
def test_impossible_counts_are_refused(row: Any, message: str) -> None:
    engine = PairedEngine()
    before = engine.dump()

    with pytest.raises(ValueError, match=message):
        engine.update(row, 0)
    with pytest.raises(ValueError, match="finite time"):
        engine.update(EQUAL, nan)

    assert engine.dump() == before


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "better"},
        {"margin_rel": -1.0},
        {"margin_abs": 1.0},
        {"rollback_risk": 0.0},
        {"bucket_share": 0.0},
        {"min_buckets": -1},
    ],
)
def test_parameters_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"mode|margins|risks|bucket_share"):
        PairedEngine(**options)
