"""Evidence from pairs against a twin in plain loops, and the ends of what can be asked."""

from collections.abc import Sequence
from math import inf, log
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from shieldx.stats import PairedEngine, Verdict
from shieldx.stats.pairs import STAKES

EQUAL, WORSE = (1000, 20, 5, 5), (1000, 20, 5, 25)
ROWS: list[Any] = [(400, 7, 3, 1), (0, 0, 0, 0), (900, 20, 12, 4, 2.0), (500, 3, 0, 9)]
CUT = log(100.0) / 3.0

type Gain = tuple[float, float, float]


def gain(claim: Gain, x_a: int, x_b: int) -> float:
    of_a, of_b, always = claim
    return of_a * x_a + of_b * x_b + always


def log_e(claims: Sequence[Gain], rows: Sequence[Any], cut: float = inf) -> float:
    """Average, over claims and stakes, what the bets have made of one unit."""
    totals = []
    for claim in claims:
        worst = min(gain(claim, x_a, x_b) for x_a in (0, 1) for x_b in (0, 1))
        for share in [2.0**-k for k in range(7, 0, -1)] + [0.9]:
            stake, total = share / -worst, 0.0
            for n, both, a_only, b_only, *phi in rows:
                good = n - both - a_only - b_only
                outcomes = ((good, 0, 0), (both, 1, 1), (a_only, 1, 0), (b_only, 0, 1))
                won = sum(
                    many * log(1.0 + stake * gain(claim, x_a, x_b)) for many, x_a, x_b in outcomes
                )
                total += min(won / (phi[0] if phi else 1.0), cut)
            totals.append(total)
    return float(np.logaddexp.reduce(totals) - log(len(totals)))


def after(engine: PairedEngine, rows: Sequence[Any]) -> PairedEngine:
    for end, row in enumerate(rows):
        engine.update(row, end)
    return engine


@pytest.mark.parametrize(
    ("options", "margins"),
    [
        ({}, [(1.25, -1.0, 0.0)]),
        ({"margin_rel": 0.5}, [(1.5, -1.0, 0.0)]),
        ({"margin_rel": 0.0, "margin_abs": 0.02}, [(1.0, -1.0, 0.02)]),
        ({"margin_rel": 0.5, "margin_abs": 0.02}, [(1.5, -1.0, 0.0), (1.0, -1.0, 0.02)]),
        ({"margin_rel": 0.0}, [(1.0, -1.0, 0.0)]),
    ],
)
@pytest.mark.parametrize("share", [1.0, 1 / 3])
def test_the_evidence_is_the_formulas(
    options: dict[str, Any], margins: list[Gain], share: float
) -> None:
    cut = CUT if share < 1.0 else inf
    engine = PairedEngine(tolerance_rel=0.4, bucket_share=share, **options)

    report = after(engine, ROWS).report()

    assert report.log_e_harm == pytest.approx(log_e([(-1.4, 1.0, 0.0)], ROWS, cut))
    assert report.log_e_noninferiority == pytest.approx(log_e(margins, ROWS, cut))
    assert report.log_e_superiority == pytest.approx(log_e([(1.0, -1.0, 0.0)], ROWS, cut))
    assert pytest.approx([2.0**-k for k in range(7, 0, -1)] + [0.9]) == STAKES


def test_what_is_reported_beside_it_is_of_pairs_that_differ() -> None:
    report = after(PairedEngine(), ROWS).report()
    a_only, b_only = 3 + 12 / 2.0, 1 + 4 / 2.0 + 9
    share = beta(b_only + 0.5, a_only + 0.5)  # of the challenger, among those that differ

    assert report.probability_better == pytest.approx(share.cdf(0.5))
    low, high = (float(share.ppf(q)) for q in (0.025, 0.975))
    assert report.interval == pytest.approx((low / (1.0 - low), high / (1.0 - high)))
    assert (report.pairs, report.buckets, report.last_end) == (1800.0, 3, 3)


def test_before_the_first_bucket_nothing_is_known() -> None:
    report = PairedEngine().report()

    assert report.verdict is Verdict.CONTINUE
    assert (report.pairs, report.buckets, report.last_end) == (0.0, 0, None)
    assert report.log_e_harm == pytest.approx(0.0)
    assert report.probability_better == pytest.approx(0.5)


def test_harm_and_safety_are_held_against_risks_of_their_own() -> None:
    harmed, safe = after(PairedEngine(), [WORSE]), after(PairedEngine(margin_rel=1.0), [EQUAL] * 9)
    harm = np.exp(-harmed.report().log_e_harm)
    safety = np.exp(-safe.report().log_e_noninferiority)

    for factor, verdict in ((1.01, Verdict.ROLLBACK), (0.99, Verdict.CONTINUE)):
        strict = PairedEngine(rollback_risk=harm * factor, promotion_risk=0.5)
        assert after(strict, [WORSE]).report().verdict is verdict
    for factor, verdict in ((1.01, Verdict.PROMOTE), (0.99, Verdict.CONTINUE)):
        strict = PairedEngine(margin_rel=1.0, promotion_risk=safety * factor)
        assert after(strict, [EQUAL] * 9).report().verdict is verdict


def test_cuts_are_shares_of_the_risks_that_they_belong_to() -> None:
    engine = PairedEngine(bucket_share=0.5, rollback_risk=0.001, promotion_risk=0.1)

    harmed = after(engine, [(1000, 0, 0, 1000)]).report()
    safe = PairedEngine(bucket_share=0.5, rollback_risk=0.001, promotion_risk=0.1)
    spared = after(safe, [(1000, 0, 1000, 0)]).report()

    assert harmed.log_e_harm == pytest.approx(log(1000.0) / 2.0)
    assert spared.log_e_noninferiority == pytest.approx(log(10.0) / 2.0)
    assert spared.log_e_superiority == pytest.approx(log(10.0) / 2.0)


def test_a_bucket_of_one_pair_is_a_bucket_and_one_of_none_is_not() -> None:
    engine = PairedEngine(margin_rel=1.0, promotion_risk=0.9, min_buckets=1)

    assert after(engine, [(0, 0, 0, 0)]).report().buckets == 0
    assert engine.update((1, 0, 1, 0), 1).buckets == 1
    assert engine.update((3, 1, 1, 1), 2).pairs == 4.0


def test_the_first_bucket_may_promote_unless_more_are_asked_for() -> None:
    lenient: dict[str, Any] = {"margin_rel": 1.0, "promotion_risk": 0.9}

    assert after(PairedEngine(**lenient), [EQUAL]).report().verdict is Verdict.PROMOTE
    two = PairedEngine(**lenient, min_buckets=2)
    assert after(two, [EQUAL]).report().verdict is Verdict.CONTINUE
    assert two.update(EQUAL, 1).verdict is Verdict.PROMOTE


def test_a_phi_below_one_counts_as_one() -> None:
    plain, below = after(PairedEngine(), [WORSE]), after(PairedEngine(), [(*WORSE, 0.2)])

    assert below.report() == plain.report()


def test_the_ends_of_what_can_be_asked_can_be_asked_and_nothing_beyond() -> None:
    for good in (
        {"margin_rel": 0.0, "margin_abs": 0.0, "tolerance_rel": 0.0},
        {"margin_rel": 2.0, "margin_abs": 0.99, "tolerance_rel": 2.0},
        {"rollback_risk": 0.99, "promotion_risk": 1e-9},
        {"bucket_share": 1.0, "min_buckets": 0},
    ):
        options: dict[str, Any] = good
        assert PairedEngine(**options).report().buckets == 0
    for bad in (
        {"margin_rel": inf},
        {"margin_abs": -0.1},
        {"tolerance_rel": -0.1},
        {"tolerance_rel": inf},
        {"rollback_risk": 1.0},
        {"promotion_risk": 0.0},
        {"promotion_risk": 1.0},
        {"bucket_share": 1.1},
    ):
        refused: dict[str, Any] = bad
        with pytest.raises(ValueError, match=r"margins|risks|bucket_share"):
            PairedEngine(**refused)
