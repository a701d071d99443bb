"""The engine: verdicts, what feeds them, and a state that survives restarts to the last bit."""

import json
from math import exp, inf, log, nan
from typing import Any

import numpy as np
import pytest

from shieldx.stats import (
    RESTARTS,
    DecisionEngine,
    MetricSpec,
    StateMismatchError,
    Verdict,
    half_way_tolerance,
    risk_of_attempt,
)
from shieldx.stats.engine import cut_at

ERRORS = MetricSpec("errors", base_rate=0.005, margin_rel=1.0)
LATENCY = MetricSpec("latency", base_rate=0.05, margin_rel=0.25)
HARMLESS, HARMFUL = (1500, 7, 1500, 7), (1500, 7, 1500, 70)


def after(engine: DecisionEngine, *rows: Any, **more: Any) -> DecisionEngine:
    for row in rows:
        end = engine.report().last_end
        engine.update([row], 0 if end is None else end + 1, **more)
    return engine


def test_without_evidence_it_continues() -> None:
    report = DecisionEngine([ERRORS]).report()

    assert report.verdict is Verdict.CONTINUE
    assert report.log_e_rollback == pytest.approx(0.0)
    assert report.last_end is None
    assert report.metrics["errors"].probability_better == pytest.approx(0.5)


def test_a_harmless_challenger_is_promoted_and_may_still_be_rolled_back() -> None:
    engine = after(DecisionEngine([ERRORS]), *[HARMLESS] * 40)
    promoted = engine.report()

    after(engine, *[HARMFUL] * 2)

    assert promoted.verdict is Verdict.PROMOTE
    assert promoted.blame is None
    assert engine.report().verdict is Verdict.ROLLBACK
    assert engine.report().blame == "errors"


def test_a_rollback_is_final_whatever_comes_after() -> None:
    engine = after(DecisionEngine([ERRORS]), *[HARMFUL] * 3, *[HARMLESS] * 300)

    report = engine.report()

    assert report.metrics["errors"].log_e_noninferiority > log(100)
    assert report.verdict is Verdict.ROLLBACK
    assert report.blame == "errors"


def test_a_rollback_needs_no_minimum_but_a_promotion_does() -> None:
    engine = DecisionEngine([ERRORS], min_buckets=41)

    assert after(engine, *[HARMLESS] * 40).report().verdict is Verdict.CONTINUE
    assert after(engine, HARMLESS).report().verdict is Verdict.PROMOTE
    assert (
        after(DecisionEngine([ERRORS], min_buckets=41), HARMFUL).report().verdict
        is Verdict.ROLLBACK
    )


def test_every_guardrail_must_be_safe() -> None:
    engine = DecisionEngine([ERRORS, LATENCY])
    for end in range(60):
        report = engine.update([HARMLESS, None], end)

    assert report.metrics["errors"].log_e_noninferiority > log(100)
    assert report.verdict is Verdict.CONTINUE


def test_harm_is_averaged_by_weight_and_blamed_on_the_worst() -> None:
    heavy = MetricSpec("heavy", base_rate=0.005, weight=3.0)
    engine = DecisionEngine([ERRORS, heavy], rollback_risk=1e-9)

    report = engine.update([HARMLESS, HARMFUL], 0)

    harm = [report.metrics[name].log_e_harm for name in ("errors", "heavy")]
    assert report.log_e_rollback == pytest.approx(
        np.log(0.25 * np.exp(harm[0]) + 0.75 * np.exp(harm[1]))
    )
    assert report.verdict is Verdict.ROLLBACK
    assert report.blame == "heavy"


def test_a_harm_only_metric_rolls_back_but_has_no_say_in_a_promotion() -> None:
    engine = DecisionEngine([ERRORS, RESTARTS])
    for end in range(60):
        promoted = engine.update([HARMLESS, (3, 0, 3, 0)], end)
    for end in range(60, 70):
        crashing = engine.update([HARMLESS, (3, 0, 3, 2)], end, challenger_restarted=True)

    assert promoted.verdict is Verdict.PROMOTE
    assert crashing.verdict is Verdict.ROLLBACK
    assert crashing.blame == "restarts"


def test_a_restart_of_the_challenger_makes_no_bucket_speak_for_it() -> None:
    calm = after(DecisionEngine([ERRORS]), (400, 2, 100, 0)).report().metrics["errors"]
    crashed = after(DecisionEngine([ERRORS]), (400, 2, 100, 0), challenger_restarted=True)
    still_bad = after(DecisionEngine([ERRORS]), HARMFUL, challenger_restarted=True)

    assert calm.log_e_noninferiority > 0.0
    assert crashed.report().metrics["errors"].log_e_noninferiority <= 1e-12
    assert crashed.report().metrics["errors"].log_e_harm == calm.log_e_harm
    assert still_bad.report().metrics["errors"].log_e_noninferiority < 0.0


def test_a_verdict_is_reached_at_the_inverse_of_its_risk() -> None:
    harm = after(DecisionEngine([ERRORS]), (1500, 7, 1500, 17)).report().log_e_rollback
    safe = after(DecisionEngine([ERRORS]), *[HARMLESS] * 9).report().metrics["errors"]

    for share, reached in ((1.01, Verdict.ROLLBACK), (0.99, Verdict.CONTINUE)):
        engine = DecisionEngine([ERRORS], rollback_risk=share * exp(-harm), promotion_risk=1e-9)
        assert after(engine, (1500, 7, 1500, 17)).report().verdict is reached
    for share, reached in ((1.01, Verdict.PROMOTE), (0.99, Verdict.CONTINUE)):
        risk = share * exp(-safe.log_e_noninferiority)
        engine = DecisionEngine([ERRORS], promotion_risk=risk)
        assert after(engine, *[HARMLESS] * 9).report().verdict is reached


def test_a_bucket_is_cut_at_its_share_of_what_a_verdict_needs() -> None:
    assert cut_at(0.25, 0.01) == pytest.approx(log(100.0) / 4.0)
    assert cut_at(1.0, 0.01) == inf


def test_a_single_request_of_each_arm_is_a_bucket_though_nothing_bad_happened() -> None:
    assert after(DecisionEngine([ERRORS]), (1, 0, 1, 0)).report().buckets == 1
    assert after(DecisionEngine([ERRORS]), (1, 0, 1, 0), (400, 0, 300, 0)).report().buckets == 2
    assert after(DecisionEngine([ERRORS]), (1, 1, 0, 0), (0, 0, 1, 1)).report().buckets == 0


def test_the_only_metric_is_the_primary_one_without_being_called_so() -> None:
    better = after(DecisionEngine([ERRORS], "superiority"), *[(1500, 30, 1500, 7)] * 20).report()
    same = after(DecisionEngine([ERRORS], "superiority"), *[HARMLESS] * 40).report()

    assert (better.verdict, same.verdict) == (Verdict.PROMOTE, Verdict.CONTINUE)


@pytest.mark.parametrize("risk", [0.01, 0.001])
def test_no_verdict_from_fewer_than_three_buckets_when_each_is_cut_at_a_third(risk: float) -> None:
    engine = DecisionEngine([ERRORS], bucket_share=1 / 3, rollback_risk=risk)
    total_outage = (1500, 7, 1500, 1500)

    verdicts = [engine.update([total_outage], end).verdict for end in range(4)]

    assert verdicts[:2] == [Verdict.CONTINUE] * 2
    assert verdicts[3] is Verdict.ROLLBACK


def test_one_outage_of_the_champion_is_no_promotion() -> None:
    outage, twice_as_bad = (1500, 300, 1500, 15), (1500, 7, 1500, 15)
    cut = DecisionEngine([ERRORS], bucket_share=1 / 3, rollback_risk=1e-12)
    uncut = DecisionEngine([ERRORS], rollback_risk=1e-12)

    assert after(uncut, outage).report().verdict is Verdict.PROMOTE
    assert after(cut, *[outage] * 2).report().verdict is Verdict.CONTINUE
    assert after(cut, *[twice_as_bad] * 20).report().verdict is Verdict.CONTINUE


def test_dispersion_divides_the_evidence() -> None:
    plain = after(DecisionEngine([ERRORS]), (400, 2, 100, 0)).report().metrics["errors"]
    noisy = after(DecisionEngine([ERRORS]), (400, 2, 100, 0, 3.0)).report().metrics["errors"]
    below_one = after(DecisionEngine([ERRORS]), (400, 2, 100, 0, 0.2)).report().metrics["errors"]

    assert 0.0 < noisy.log_e_noninferiority < plain.log_e_noninferiority
    assert below_one.log_e_noninferiority == plain.log_e_noninferiority
    assert np.diff(noisy.interval)[0] > np.diff(plain.interval)[0]


def test_good_first_and_bad_now_is_not_promoted() -> None:
    slightly_bad = (1500, 7, 1500, 17)
    engine = DecisionEngine([ERRORS], recent_buckets=30, rollback_risk=1e-12)
    blind = DecisionEngine([ERRORS], rollback_risk=1e-12)

    before = after(engine, *[HARMLESS] * 90).report()
    now = after(engine, *[slightly_bad] * 30).report()
    looked_at_as_one = after(blind, *[HARMLESS] * 90, *[slightly_bad] * 30).report()

    assert before.verdict is Verdict.PROMOTE
    assert looked_at_as_one.verdict is Verdict.PROMOTE
    assert now.metrics["errors"].log_e_noninferiority > log(100)
    assert now.metrics["errors"].probability_worse_than_margin < 0.5
    assert (now.metrics["errors"].probability_worse_than_margin_recent or 0.0) > 0.5
    assert now.verdict is Verdict.CONTINUE


@pytest.mark.parametrize("recent", [1, 8, 30])
def test_the_recent_past_is_about_as_long_as_asked_and_no_longer(recent: int) -> None:
    slot = -(-recent // 8)
    window = 8 * slot
    engine = after(DecisionEngine([ERRORS], recent_buckets=recent), *[HARMFUL] * 20)

    worse = [
        after(engine, HARMLESS).report().metrics["errors"].probability_worse_than_margin_recent
        for _ in range(window)
    ]

    fresh = after(DecisionEngine([ERRORS], recent_buckets=recent), *[HARMLESS] * window)
    only_harmless = fresh.report().metrics["errors"].probability_worse_than_margin_recent
    assert (worse[0] or 0.0) > 0.5
    assert worse[window - slot - 1] != pytest.approx(only_harmless, abs=0.05)
    assert worse[window - slot] == pytest.approx(only_harmless, abs=0.05)


def test_superiority_asks_the_primary_metric_to_be_better() -> None:
    conversion = MetricSpec("conversion", "higher", 0.05, margin_rel=0.1, mde=0.3, primary=True)
    same, better = (1000, 50, 1000, 50), (1000, 50, 1000, 75)
    specs = [ERRORS, conversion]
    level, ahead = (DecisionEngine(specs, mode="superiority") for _ in range(2))
    for end in range(60):
        no_gain = level.update([HARMLESS, same], end)
        gain = ahead.update([HARMLESS, better], end)

    assert no_gain.verdict is Verdict.CONTINUE
    assert no_gain.metrics["conversion"].log_e_noninferiority > log(100)
    assert gain.verdict is Verdict.PROMOTE
    assert gain.metrics["conversion"].probability_better > 0.99
    assert gain.metrics["conversion"].interval[0] > 1.0


def test_fewer_conversions_are_harm() -> None:
    conversion = MetricSpec("conversion", "higher", 0.05)

    report = after(DecisionEngine([conversion]), *[(1000, 50, 1000, 20)] * 5).report()

    assert report.verdict is Verdict.ROLLBACK
    assert report.metrics["conversion"].probability_better < 0.01
    assert report.metrics["conversion"].expected_loss > 0.4


def test_what_the_tolerance_allows_is_not_harm() -> None:
    tolerance = half_way_tolerance(0.005, margin_abs=0.015)
    tolerant = MetricSpec("errors", base_rate=0.005, margin_abs=0.015, tolerance_rel=tolerance)
    strict = MetricSpec("errors", base_rate=0.005, margin_abs=0.015)
    rows = [(1000, 5, 1000, 8)] * 200

    assert tolerance == pytest.approx(1.0)
    assert after(DecisionEngine([tolerant]), *rows).report().verdict is Verdict.PROMOTE
    assert after(DecisionEngine([strict]), *rows).report().verdict is Verdict.ROLLBACK


def test_of_two_margins_the_looser_holds_at_the_present_rate() -> None:
    spec = MetricSpec("errors", base_rate=0.005, margin_rel=0.5, margin_abs=0.005)

    assert spec.margin_at(0.001).at(0.001) == pytest.approx(0.006)
    assert spec.margin_at(0.1).at(0.1) == pytest.approx(0.15)


def test_all_attempts_together_risk_no_more_than_twice_one() -> None:
    risks = [risk_of_attempt(0.01, attempt) for attempt in range(50)]

    assert risks[:3] == [0.01, 0.005, 0.0025]
    assert 0.0199 < sum(risks) <= 0.02


def test_a_replayed_bucket_changes_nothing() -> None:
    engine = DecisionEngine([ERRORS], recent_buckets=8)
    first = engine.update([HARMFUL], 10)

    for end in (10, 9, -5):
        assert engine.update([HARMLESS], end) == first


def test_buckets_are_counted_where_both_arms_had_requests() -> None:
    engine = after(DecisionEngine([ERRORS]), None, (100, 1, 0, 0), (0, 0, 100, 1), HARMLESS)

    report = engine.report()

    assert report.buckets == 1
    assert report.metrics["errors"].champion_total == 1500
    assert report.metrics["errors"].challenger_bad == 7


def test_restarts_at_every_bucket_reproduce_the_run_to_the_last_bit() -> None:
    specs = [ERRORS, MetricSpec("slow", base_rate=0.05, margin_rel=0.0, margin_abs=0.01), RESTARTS]
    options: dict[str, Any] = {"bucket_share": 1 / 3, "recent_buckets": 30, "rollback_risk": 0.005}
    dice = np.random.default_rng()
    through = DecisionEngine(specs, **options)
    broken = DecisionEngine(specs, **options)

    for bucket in range(120):
        n_a, n_b = (int(n) for n in dice.integers(1, 900, size=2))
        counts = [
            (n_a, int(dice.binomial(n_a, 0.01)), n_b, int(dice.binomial(n_b, 0.01)), 1.37),
            None if bucket % 7 == 3 else (n_a, n_a // 20, n_b, n_b // 19),
            (3, 0, 2, int(bucket % 50 == 20)),
        ]
        crashed = bucket % 50 == 20
        broken = DecisionEngine.load(specs, json.loads(json.dumps(broken.dump())), **options)
        assert broken.update(counts, bucket / 3, challenger_restarted=crashed) == through.update(
            counts, bucket / 3, challenger_restarted=crashed
        )
        assert broken.dump() == through.dump()

    assert all(len(json.dumps(metric)) <= 2048 for metric in through.dump()["metrics"])
    assert len(json.dumps(through.dump())) <= 2048 * len(specs)


@pytest.mark.parametrize(
    "other",
    [
        [MetricSpec("errors", base_rate=0.005, margin_rel=1.5)],
        [MetricSpec("errors", base_rate=0.006, margin_rel=1.0)],
        [MetricSpec("failures", base_rate=0.005, margin_rel=1.0)],
        [ERRORS, LATENCY],
    ],
)
def test_evidence_for_another_question_is_refused(other: list[MetricSpec]) -> None:
    state = after(DecisionEngine([ERRORS]), HARMLESS).dump()

    with pytest.raises(StateMismatchError, match="start anew"):
        DecisionEngine.load(other, state)
    with pytest.raises(StateMismatchError, match="version 7"):
        DecisionEngine.load([ERRORS], {**state, "version": 7})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((100, 1, 100), "n, bad"),
        ((100, -1, 100, 1), "not negative"),
        ((100, nan, 100, 1), "finite"),
        ((inf, 1, 100, 1), "finite"),
        ((100, 1, 100, 1, nan), "finite"),
    ],
)
def test_impossible_counts_are_refused_before_anything_changes(row: Any, message: str) -> None:
    engine = DecisionEngine([ERRORS, LATENCY])
    before = engine.dump()

    with pytest.raises(ValueError, match=message):
        engine.update([HARMLESS, row], 0)
    with pytest.raises(ValueError, match="2 metrics, but counts of 1"):
        engine.update([HARMLESS], 0)
    with pytest.raises(ValueError, match="finite time"):
        engine.update([HARMLESS, HARMLESS], nan)

    assert engine.dump() == before


@pytest.mark.parametrize(
    ("specs", "options", "message"),
    [
        ([], {}, "at least one metric"),
        ([ERRORS, ERRORS], {}, "a name of its own"),
        ([ERRORS], {"mode": "noninferiorty"}, "mode is"),
        ([RESTARTS], {}, "nothing could ever promote"),
        ([ERRORS, LATENCY], {"mode": "superiority"}, "primary=True"),
        ([ERRORS], {"rollback_risk": 0.0}, "rollback_risk is a probability"),
        ([ERRORS], {"promotion_risk": 1.0}, "promotion_risk is a probability"),
        ([ERRORS], {"bucket_share": 0.0}, "bucket_share is a share"),
        ([ERRORS], {"recent_buckets": -1}, "cannot be negative"),
        ([ERRORS], {"reserve": -0.1}, "reserve is a share"),
        ([ERRORS], {"reserve": 1.0}, "reserve is a share"),
    ],
)
def test_an_engine_that_makes_no_sense_is_refused(
    specs: list[MetricSpec], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DecisionEngine(specs, **options)


@pytest.mark.parametrize(
    "fields",
    [
        {"better": "more"},
        {"base_rate": 0.0},
        {"base_rate": 1.0},
        {"margin_rel": -0.1},
        {"margin_abs": 1.0},
        {"tolerance_rel": -0.1},
        {"better": "higher", "margin_rel": 1.0},
        {"mde": 0.0},
        {"weight": 0.0},
        {"weight": inf},
    ],
)
def test_a_metric_that_makes_no_sense_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="errors: "):
        MetricSpec("errors", **fields)


def test_more_events_than_requests_count_as_all() -> None:
    skewed = after(DecisionEngine([ERRORS]), (100, 1, 50, 51)).report()

    assert skewed == after(DecisionEngine([ERRORS]), (100, 1, 50, 50)).report()
