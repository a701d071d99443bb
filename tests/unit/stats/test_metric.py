"""A metric by itself: its lines, what it refuses to be asked, and what it reports."""

from math import inf, log, nan
from typing import Any

import pytest

from shieldx.stats import (
    RESTARTS,
    DecisionEngine,
    MetricReport,
    MetricSpec,
    Verdict,
    half_way_tolerance,
)
from shieldx.stats.eprocess import log_odds
from shieldx.stats.posterior import Posterior, Strata

ORDERS = MetricSpec("orders", "higher", 0.2, margin_rel=0.25, tolerance_rel=0.1, mde=0.5)


def report(spec: MetricSpec, *rows: Any, **options: Any) -> MetricReport:
    engine = DecisionEngine([spec], **options)
    for end, row in enumerate(rows):
        engine.update([row], end)
    return engine.report().metrics[spec.name]


class TestLines:
    def test_where_higher_is_better_every_line_is_mirrored(self) -> None:
        points = MetricSpec("orders", "higher", 0.2, margin_rel=0.1, margin_abs=0.05)

        assert ORDERS.tolerated.at(0.2) == pytest.approx(0.18)
        assert [line.at(0.2) for line in points.margins] == pytest.approx([0.18, 0.15])
        assert points.margin_at(0.2).at(0.2) == pytest.approx(0.15)
        assert points.margin_at(0.9).at(0.9) == pytest.approx(0.81)

    def test_without_a_margin_the_line_is_the_champions_rate(self) -> None:
        assert MetricSpec("errors", margin_rel=0.0).margin_at(0.2).at(0.2) == 0.2

    def test_margin_and_effect_are_log_odds_at_the_base_rate(self) -> None:
        errors = MetricSpec("errors", base_rate=0.2, margin_rel=0.5, mde=0.25)

        assert errors.margin_log_odds == pytest.approx(log(0.3 / 0.7) - log(0.2 / 0.8))
        assert errors.effect_log_odds == pytest.approx(log(0.15 / 0.85) - log(0.2 / 0.8))
        assert ORDERS.margin_log_odds == pytest.approx(log(0.15 / 0.85) - log(0.2 / 0.8))
        assert ORDERS.effect_log_odds == pytest.approx(log(0.3 / 0.7) - log(0.2 / 0.8))
        assert MetricSpec("errors").effect_log_odds is None

    def test_a_margin_beyond_all_rates_ends_just_short_of_one(self) -> None:
        wide = MetricSpec("errors", base_rate=0.6, margin_rel=1.0, mde=2.0)

        assert wide.margin_log_odds == pytest.approx(log_odds(1 - 1e-9) - log_odds(0.6))
        assert wide.effect_log_odds == pytest.approx(log_odds(1e-9) - log_odds(0.6))

    def test_the_tolerance_is_half_of_the_looser_margin_in_factors(self) -> None:
        assert half_way_tolerance(0.01, margin_rel=0.44) == pytest.approx(0.2)
        assert half_way_tolerance(0.01, 0.44, margin_abs=0.03) == pytest.approx(1.0)
        assert half_way_tolerance(0.01, 3.0, margin_abs=0.0044) == pytest.approx(1.0)
        assert half_way_tolerance(0.01) == 0.0


class TestAsking:
    def test_the_ends_of_what_can_be_asked_can_be_asked(self) -> None:
        for fields in (
            {"margin_rel": 0.0},
            {"margin_rel": 1.0},
            {"margin_abs": 0.99},
            {"tolerance_rel": 1.5},
            {"better": "higher", "margin_rel": 0.99, "tolerance_rel": 0.99},
            {"mde": 1e-6},
            {"mde": 1.5},
            {"weight": 0.001},
        ):
            asked: dict[str, Any] = fields
            assert MetricSpec("errors", **asked).name == "errors"

    @pytest.mark.parametrize(
        "fields",
        [
            {"margin_rel": inf},
            {"margin_abs": -0.001},
            {"tolerance_rel": inf},
            {"better": "higher", "tolerance_rel": 1.0},
            {"mde": inf},
            {"mde": -0.1},
            {"weight": nan},
            {"weight": -1.0},
        ],
    )
    def test_and_what_is_beyond_them_cannot(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="errors: "):
            MetricSpec("errors", **fields)


class TestReports:
    ROWS = ((900, 44, 300, 20), (500, 26, 500, 29, 2.0))

    def belief(self) -> Posterior:
        strata = Strata().plus((900, 44, 300, 20), 1.0).plus((500, 26, 500, 29), 2.0)
        return Posterior.of(strata)

    def test_beliefs_are_the_posteriors_of_all_buckets(self) -> None:
        seen = report(MetricSpec("errors", base_rate=0.05), *self.ROWS)
        belief = self.belief()

        assert seen.probability_better == pytest.approx(1.0 - belief.probability_above(1.0))
        assert seen.probability_worse_than_margin == pytest.approx(belief.probability_above(1.25))
        assert seen.probability_worse_than_margin_recent is None
        assert seen.interval == pytest.approx(belief.interval)
        assert seen.expected_loss == pytest.approx(belief.expected_excess())

    def test_where_higher_is_better_beliefs_are_mirrored(self) -> None:
        seen = report(MetricSpec("orders", "higher", 0.05), *self.ROWS)
        belief = self.belief()

        assert seen.probability_better == pytest.approx(belief.probability_above(1.0))
        assert seen.probability_worse_than_margin == pytest.approx(
            1.0 - belief.probability_above(0.75)
        )
        assert seen.interval == pytest.approx(belief.interval)
        assert seen.expected_loss == pytest.approx(belief.expected_shortfall())

    def test_an_absolute_margin_is_a_ratio_at_the_rate_expected_now(self) -> None:
        spec = MetricSpec("errors", base_rate=0.05, margin_rel=0.0, margin_abs=0.01)
        seen = report(spec, (10_000, 500, 300, 20))

        ratio = Posterior.of(Strata().plus((10_000, 500, 300, 20), 1.0)).probability_above(1.2)
        assert seen.probability_worse_than_margin == pytest.approx(ratio)

    def test_totals_are_of_buckets_with_both_arms_in_them(self) -> None:
        seen = report(MetricSpec("errors"), *self.ROWS, (70, 7, 0, 0), None, (1, 1, 1, 0))

        totals = (seen.champion_total, seen.champion_bad)
        assert totals == (1401, 71)
        assert (seen.challenger_total, seen.challenger_bad) == (801, 49)

    def test_a_single_request_of_either_arm_is_a_bucket(self) -> None:
        engine = DecisionEngine([MetricSpec("errors")])

        assert engine.update([(1, 0, 1, 1)], 0).buckets == 1
        assert engine.report().metrics["errors"].log_e_harm > 0.0

    def test_the_champion_alone_teaches_what_to_expect_of_it(self) -> None:
        spec, row = MetricSpec("errors", base_rate=0.01), (400, 40, 400, 40)
        taught = report(spec, (100_000, 10_000, 0, 0), row)
        untaught = report(spec, (0, 0, 100_000, 10_000), row)

        assert taught.log_e_noninferiority > untaught.log_e_noninferiority
        assert untaught == report(spec, row)

    def test_one_request_of_the_champion_teaches_and_none_makes_nothing_forgotten(self) -> None:
        spec, row = MetricSpec("errors", base_rate=0.01), (400, 40, 400, 40)

        assert report(spec, (1, 1, 0, 0), row) != report(spec, row)
        assert report(spec, row, (0, 0, 400, 4), row, row) == report(spec, row, row, row)

    def test_it_says_whether_it_has_a_say_in_a_promotion(self) -> None:
        metrics = DecisionEngine([ORDERS, RESTARTS]).report().metrics

        assert metrics["orders"].harm_only is False
        assert metrics["restarts"].harm_only is True


def test_as_good_as_the_margin_lately_is_not_rather_within_it() -> None:
    """Better by far first, and lately the same to the last request: one half is not less."""
    spec = MetricSpec("errors", base_rate=0.05, margin_rel=0.0)
    engine = DecisionEngine([spec], "superiority", recent_buckets=8)
    for end in range(60):
        better = engine.update([(400, 20, 400, 5)], end)
    for end in range(60, 68):
        same = engine.update([(400, 20, 400, 20)], end)

    assert better.verdict is Verdict.PROMOTE
    assert same.metrics["errors"].probability_worse_than_margin_recent == 0.5
    assert same.metrics["errors"].log_e_superiority > log(100.0)
    assert same.verdict is Verdict.CONTINUE


def test_the_recent_past_is_forgotten_in_eighths() -> None:
    """Asked for 20 buckets it keeps eight sums of three."""
    spec, bad, good = MetricSpec("errors", base_rate=0.05), (100, 5, 100, 30), (100, 5, 100, 5)

    def recent(rows: list[Any]) -> float | None:
        return report(spec, *rows, recent_buckets=20).probability_worse_than_margin_recent

    kept, gone = [bad, *[good] * 23], [bad, *[good] * 24]
    never = [good] * 24
    assert recent(kept) != pytest.approx(recent(never), abs=1e-6)
    assert recent(gone) == pytest.approx(
        report(spec, *[good] * 22, recent_buckets=0).probability_worse_than_margin, abs=1e-6
    )


def test_every_kind_of_evidence_is_divided_by_phi() -> None:
    spec, row = MetricSpec("errors", base_rate=0.05, mde=0.2), (1000, 50, 1000, 25)
    plain, noisy = report(spec, row), report(spec, (*row, 2.0))

    assert plain.log_e_superiority > 0.0
    assert 0.0 < noisy.log_e_superiority < plain.log_e_superiority
    assert 0.0 < noisy.log_e_noninferiority < plain.log_e_noninferiority
    assert noisy.champion_total == plain.champion_total
