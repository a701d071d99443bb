"""What an engine was asked it is asked again after a restart, each option by a run it decides."""

import json
from math import exp, inf, log
from typing import Any

import pytest
from scipy.stats import norm

from shieldx.stats import DecisionEngine, MetricSpec, StateMismatchError, Verdict

ERRORS = MetricSpec("errors", base_rate=0.005, margin_rel=1.0)
ORDERS = MetricSpec("orders", "higher", 0.05, margin_rel=0.1, mde=0.3, primary=True)
SAME, TWICE, AWFUL = (1500, 7, 1500, 7), (1500, 7, 1500, 14), (1500, 7, 1500, 70)
ORDERED = (1000, 50, 1000, 50)
POINTS = MetricSpec("errors", base_rate=0.005, margin_rel=0.0, margin_abs=0.01)
OUTAGE = [SAME] * 3 + [(1500, 700, 1500, 780)] * 6 + [SAME] * 6


def verdict(
    specs: list[MetricSpec], rows: list[Any], *, restarted_at: int | None, **options: Any
) -> Verdict:
    """Judge `rows`, the same for each metric or one each, with a restart before one of them."""
    engine = DecisionEngine(specs, **options)
    for end, row in enumerate(rows):
        if end == restarted_at:
            engine = DecisionEngine.load(specs, json.loads(json.dumps(engine.dump())), **options)
        engine.update(row if isinstance(row, list) else [row] * len(specs), end)
    return engine.report().verdict


@pytest.mark.parametrize(
    ("specs", "rows", "options", "otherwise"),
    [
        ([ERRORS], [SAME] * 40, {"min_buckets": 41}, {}),
        ([ERRORS], [SAME] * 40, {"promotion_risk": 1e-30}, {}),
        ([ERRORS], [AWFUL], {"rollback_risk": 1e-60}, {}),
        ([ERRORS], [AWFUL], {"bucket_share": 1 / 3}, {}),
        ([POINTS], OUTAGE, {"reserve": 0.1, "rollback_risk": 1e-30}, {"rollback_risk": 1e-30}),
        ([ERRORS], [SAME] * 60 + [TWICE] * 8, {"recent_buckets": 8, "rollback_risk": 1e-9}, None),
        ([ERRORS, ORDERS], [[SAME, ORDERED]] * 60, {"mode": "superiority"}, {}),
    ],
    ids=lambda each: next(iter(each), "") if isinstance(each, dict) else "",
)
def test_each_option_counts_after_a_restart_as_before(
    specs: list[MetricSpec],
    rows: list[Any],
    options: dict[str, Any],
    otherwise: dict[str, Any] | None,
) -> None:
    last = len(rows) - 1
    through = verdict(specs, rows, restarted_at=None, **options)

    assert verdict(specs, rows, restarted_at=0, **options) is through
    assert verdict(specs, rows, restarted_at=last, **options) is through
    if otherwise is not None:
        assert verdict(specs, rows, restarted_at=last, **otherwise) is not through


def test_without_options_a_restart_asks_what_is_asked_by_default() -> None:
    promoting = DecisionEngine([ERRORS])
    before = promoting.dump()
    outage_of_the_champion = [(1500, 300, 1500, 15)]

    again = DecisionEngine.load([ERRORS], before)

    assert again.update(outage_of_the_champion, 0).verdict is Verdict.PROMOTE
    assert again.report() == promoting.update(outage_of_the_champion, 0)
    assert again.report().metrics["errors"].probability_worse_than_margin_recent is None
    threshold = DecisionEngine.load([ERRORS], before)
    just_short = [threshold.update([(1500, 7, 1500, 16)], end) for end in range(1, 8)]
    for report in just_short:
        assert (report.verdict is Verdict.ROLLBACK) == (exp(report.log_e_rollback) >= 100.0)
    assert just_short[0].verdict is Verdict.CONTINUE
    assert just_short[-1].verdict is Verdict.ROLLBACK


def test_a_rollback_is_final_after_a_restart_too() -> None:
    engine = DecisionEngine([ERRORS])
    engine.update([AWFUL], 0)
    for end in range(1, 300):
        engine.update([SAME], end)

    again = DecisionEngine.load([ERRORS], engine.dump())

    assert again.report() == engine.report()
    assert (again.report().verdict, again.report().blame) == (Verdict.ROLLBACK, "errors")


def test_a_window_of_another_length_fills_anew_and_the_rest_goes_on() -> None:
    engine = DecisionEngine([ERRORS], recent_buckets=8)
    for end in range(20):
        engine.update([AWFUL if end < 10 else SAME], end)

    longer = DecisionEngine.load([ERRORS], engine.dump(), recent_buckets=24)

    then, now = engine.report().metrics["errors"], longer.report().metrics["errors"]
    assert now.log_e_harm == then.log_e_harm
    nothing_known = norm.sf(log(2.0))  # the prior's chance of a rate beyond the margin
    assert now.probability_worse_than_margin_recent == pytest.approx(nothing_known)
    for end in range(20, 28):
        longer.update([SAME], end)
    fresh = DecisionEngine([ERRORS], recent_buckets=24)
    for end in range(8):
        fresh.update([SAME], end)
    assert longer.report().metrics["errors"].probability_worse_than_margin_recent == pytest.approx(
        fresh.report().metrics["errors"].probability_worse_than_margin_recent, abs=1e-3
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": "failures"},
        {"better": "higher", "margin_rel": 0.5},
        {"base_rate": 0.006},
        {"margin_rel": 1.5},
        {"margin_abs": 0.01},
        {"tolerance_rel": 0.5},
        {"mde": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_evidence_is_for_one_rate_margin_tolerance_and_effect_only(change: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"name": "errors", "base_rate": 0.005, "margin_rel": 1.0} | change
    state = DecisionEngine([ERRORS]).dump()

    with pytest.raises(StateMismatchError, match=asked["name"]):
        DecisionEngine.load([MetricSpec(**asked)], state)


def test_its_say_among_others_may_change() -> None:
    state = DecisionEngine([ERRORS]).dump()
    louder = MetricSpec("errors", base_rate=0.005, margin_rel=1.0, weight=3.0, primary=True)

    assert DecisionEngine.load([louder], state).dump() == state


def test_a_state_without_a_version_or_of_fewer_metrics_is_refused() -> None:
    state = DecisionEngine([ERRORS]).dump()

    with pytest.raises(StateMismatchError, match="version None; start anew"):
        DecisionEngine.load([ERRORS], {})
    with pytest.raises(StateMismatchError, match="state of 1 metrics, but 2"):
        DecisionEngine.load([ERRORS, ORDERS], state)


def test_a_bucket_counts_once_one_metric_of_several_saw_both_arms() -> None:
    engine = DecisionEngine([ERRORS, ORDERS])

    engine.update([SAME, None], 0)
    engine.update([SAME, (10, 1, 0, 0)], 1)
    engine.update([(0, 0, 5, 0), ORDERED], 2)
    engine.update([SAME, ORDERED], 3)
    engine.update([None, None], 4)

    assert engine.report().buckets == 4
    assert engine.report().last_end == 4


def test_the_ends_of_what_can_be_asked_can_be_asked() -> None:
    for options in (
        {"min_buckets": 0},
        {"bucket_share": 1.0},
        {"bucket_share": 1e-6},
        {"reserve": 0.99},
        {"rollback_risk": 0.999, "promotion_risk": 1e-12},
    ):
        asked: dict[str, Any] = options
        assert DecisionEngine([ERRORS], **asked).report().buckets == 0
    for bad in ({"min_buckets": -1}, {"promotion_risk": 0.0}, {"rollback_risk": 1.0}):
        refused: dict[str, Any] = bad
        with pytest.raises(ValueError, match=r"negative|probability"):
            DecisionEngine([ERRORS], **refused)
    with pytest.raises(ValueError, match="bucket_share"):
        DecisionEngine([ERRORS], bucket_share=1.1)
    with pytest.raises(ValueError, match="finite time"):
        DecisionEngine([ERRORS]).update([SAME], inf)
