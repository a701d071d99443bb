"""A jump of the champion's rate: when there is one, what is forgotten, what is staked then."""

import json
from math import exp, log
from typing import Any

import numpy as np
import pytest

from shieldx.stats import DecisionEngine, MetricSpec, StateMismatchError, Verdict
from shieldx.stats.eprocess import Centre
from shieldx.stats.jumps import forgotten, has_jumped, with_capital

ERRORS = MetricSpec("errors", base_rate=0.01, margin_rel=0.0, margin_abs=0.02, tolerance_rel=0.7)
ASKED: dict[str, Any] = {"bucket_share": 1 / 3, "reserve": 0.1}
CALM, OUTAGE, AWFUL = (300, 3, 300, 3), (300, 120, 300, 120), (300, 3, 300, 15)
# During an outage the challenger was a little unlucky, which a bet at 1 % takes for a lot.
UNLUCKY = (300, 110, 300, 130)


def judged(*rows: Any, **asked: Any) -> DecisionEngine:
    engine = DecisionEngine([ERRORS], **asked)
    for end, row in enumerate(rows):
        engine.update([row], end)
    return engine


def safety(engine: DecisionEngine) -> float:
    return engine.report().metrics["errors"].log_e_noninferiority


@pytest.mark.parametrize(
    ("n", "x", "rate", "phi", "jumped"),
    [
        (300, 3, 0.01, 1.0, False),
        (300, 13, 0.01, 1.0, False),
        (300, 14, 0.01, 1.0, True),
        (300, 15, 0.01, 2.0, False),
        (300, 120, 0.01, 2.0, True),
        (300, 0, 0.01, 1.0, False),
        (300, 0, 0.04, 1.0, True),
        (300, 300, 0.99, 1.0, False),
        (1, 1, 1e-5, 1.0, True),
        (1, 1, 1e-4, 1.0, False),
    ],
)
def test_a_bucket_that_the_prediction_cannot_explain_is_a_jump(
    n: float, x: float, rate: float, phi: float, *, jumped: bool
) -> None:
    def of(events: float, chance: float) -> float:
        return events * log(events / (n * chance)) if events else 0.0

    surprise = (of(x, rate) + of(n - x, 1.0 - rate)) / phi

    assert (surprise > 10.0) == jumped
    assert bool(has_jumped(n, x, rate, phi)) == jumped


def test_one_answer_a_run() -> None:
    n, x = np.full((2, 1), 300.0), np.array([[3.0], [30.0]])

    assert has_jumped(n, x, np.full((2, 1), 0.01), 1.0).tolist() == [[False], [True]]


def test_of_the_past_a_quarter_of_a_bucket_is_left_after_a_jump() -> None:
    assert forgotten(Centre(40.0, 4000.0), 300) == Centre(0.75, 75.0)
    assert forgotten(Centre(0.5, 50.0), 300) == Centre(0.5, 50.0)


def test_capital_is_added_to_what_logarithms_say() -> None:
    assert with_capital(np.array([log(3.0), -1e4]), 2.0) == pytest.approx([log(5.0), log(2.0)])
    assert with_capital(np.array([-0.3, -1e4]), 0.0).tolist() == [-0.3, -1e4]


def test_evidence_begins_at_nothing_and_grows_by_what_is_at_stake() -> None:
    assert safety(judged(reserve=0.25)) == pytest.approx(0.0, abs=1e-15)

    grown = safety(judged(CALM)), safety(judged(CALM, reserve=0.25))

    assert exp(grown[1]) == pytest.approx(0.25 + 0.75 * exp(grown[0]))


def test_what_an_outage_takes_is_all_but_what_was_kept_for_it() -> None:
    rows = [CALM] * 3 + [UNLUCKY] * 6 + [CALM] * 12

    before, after = judged(*rows, bucket_share=1 / 3), judged(*rows, **ASKED)

    assert safety(before) < -5.0
    assert before.report().verdict is Verdict.CONTINUE
    assert after.report().verdict is Verdict.PROMOTE


def test_harm_that_begins_with_the_end_of_an_outage_is_seen_at_once() -> None:
    rows = [CALM] * 3 + [OUTAGE] * 6 + [AWFUL] * 14

    before, after = judged(*rows, bucket_share=1 / 3), judged(*rows, **ASKED)

    assert before.report().verdict is Verdict.CONTINUE
    assert after.report().verdict is Verdict.ROLLBACK


def test_each_jump_stakes_half_of_what_is_left() -> None:
    """Without a challenger buckets say nothing about it, but the champion's rate can jump."""
    engine = DecisionEngine([ERRORS], reserve=0.4)
    left = []
    for end, bad in enumerate((3, 3, 150, 150, 3, 3)):
        engine.update([(300, bad, 0, 0)], end)
        left.append(engine.dump()["metrics"][0]["kept"])

    assert left == [0.4, 0.4, 0.2, 0.2, 0.1, 0.05]
    assert safety(engine) == pytest.approx(0.0, abs=1e-12)
    for process in ("harm", "noninferiority", "superiority"):
        staked = engine.dump()["metrics"][0][process]
        assert staked == pytest.approx([log(0.95)] * len(staked))


def test_what_is_staked_plays_along_from_the_next_bucket_on() -> None:
    """What a bucket multiplied is known by leaving the jump before it out."""
    jumped = judged((300, 60, 300, 60), reserve=0.1)
    kept = jumped.dump()["metrics"][0]

    assert kept["kept"] == 0.05
    alone = judged((300, 60, 300, 60))
    at_stake = np.array(alone.dump()["metrics"][0]["noninferiority"])
    assert np.exp(kept["noninferiority"]) == pytest.approx(0.9 * np.exp(at_stake) + 0.05)
    assert exp(safety(jumped)) == pytest.approx(0.1 + 0.9 * exp(safety(alone)))


def test_without_a_reserve_jumps_are_not_heeded() -> None:
    centre = judged(CALM, OUTAGE, CALM).dump()["metrics"][0]["centre"]

    predicted = Centre.at(0.01).after(300, 3).after(300, 120).after(300, 3)
    assert centre == [predicted.events, predicted.requests]


def test_with_one_the_prediction_is_soon_right_again() -> None:
    rows = [CALM] * 10 + [OUTAGE] * 6 + [CALM] * 4

    rates = [
        events / requests
        for events, requests in (
            judged(*rows, reserve=reserve).dump()["metrics"][0]["centre"] for reserve in (0.0, 0.1)
        )
    ]

    assert rates[0] > 0.1
    assert rates[1] < 0.02


def test_scatter_that_is_known_is_no_jump() -> None:
    noisy = (300, 15, 300, 15, 2.0)

    assert judged(noisy[:4], reserve=0.1).dump()["metrics"][0]["kept"] == 0.05
    assert judged(noisy, reserve=0.1).dump()["metrics"][0]["kept"] == 0.1


def test_a_restart_in_the_middle_of_an_outage_changes_nothing() -> None:
    rows = [CALM] * 3 + [UNLUCKY] * 6 + [CALM] * 3
    through, broken = (DecisionEngine([ERRORS], **ASKED) for _ in range(2))

    for end, row in enumerate(rows):
        broken = DecisionEngine.load([ERRORS], json.loads(json.dumps(broken.dump())), **ASKED)
        assert broken.update([row], end) == through.update([row], end)

    assert broken.dump() == through.dump()
    assert through.dump()["metrics"][0]["kept"] < 0.1


def test_a_state_from_before_there_was_a_reserve_is_refused() -> None:
    state = judged(CALM).dump()
    del state["metrics"][0]["kept"]

    with pytest.raises(StateMismatchError, match="version 1; start anew"):
        DecisionEngine.load([ERRORS], {**state, "version": 1}, **ASKED)
