"""Many runs at once are the engine, run by run."""

from math import exp
from typing import Any

import numpy as np
import pytest

from shieldx.stats import DecisionEngine, MetricSpec, Report, Verdict
from shieldx.stats.engine import Mode
from shieldx.stats.eprocess import Centre
from shieldx.stats.streams import Streams

ERRORS = MetricSpec("errors", base_rate=0.01, margin_rel=1.0, tolerance_rel=0.4)
POINTS = MetricSpec("points", base_rate=0.02, margin_rel=0.0, margin_abs=0.01, weight=2.0)
GUARD = MetricSpec("guard", base_rate=0.02, margin_rel=0.4, margin_abs=0.009, harm_only=True)
# The margins of both cross at their base rates, so that runs differ in which of them is looser.
BOTH = MetricSpec("both", base_rate=0.02, margin_rel=0.4, margin_abs=0.008)
BOTH_HIGHER = MetricSpec("both", "higher", 0.05, margin_rel=0.2, margin_abs=0.01)
BOTH_EXACTLY = MetricSpec("both", base_rate=0.5, margin_rel=0.5, margin_abs=0.25)
ORDERS = MetricSpec("orders", "higher", 0.05, margin_rel=0.1, mde=0.3, primary=True)


def promoting(specs: list[MetricSpec], mode: Mode, report: Report) -> float:
    """Return the least evidence of those that a promotion asks for."""
    superior = {spec.name for spec in specs if spec.primary or len(specs) == 1}
    asked = [
        metric.log_e_superiority
        if mode == "superiority" and name in superior
        else metric.log_e_noninferiority
        for name, metric in report.metrics.items()
        if not metric.harm_only
    ]
    return min(asked)


@pytest.mark.parametrize(
    ("specs", "mode"),
    [
        ([ERRORS], "noninferiority"),
        ([ERRORS], "superiority"),
        ([ERRORS, POINTS, GUARD], "noninferiority"),
        ([BOTH], "noninferiority"),
        ([BOTH_HIGHER], "noninferiority"),
        ([BOTH_EXACTLY], "noninferiority"),
        ([POINTS, ORDERS], "superiority"),
    ],
)
@pytest.mark.parametrize(("share", "reserve"), [(1.0, 0.0), (1 / 3, 0.0), (1 / 3, 0.2)])
def test_each_run_is_judged_as_the_engine_would(
    specs: list[MetricSpec], mode: Any, share: float, reserve: float
) -> None:
    seed = np.random.SeedSequence().generate_state(1)[0]
    dice = np.random.default_rng(seed)
    runs = 5
    options: dict[str, Any] = {
        "bucket_share": share,
        "reserve": reserve,
        "rollback_risk": 0.02,
        "promotion_risk": 0.05,
    }
    streams = Streams(specs, runs, mode, **options)
    engines = [DecisionEngine(specs, mode, **options) for _ in range(runs)]
    doomed = np.zeros(runs, dtype=bool)

    for bucket in range(25):
        phi = dice.uniform(1.0, 2.0, runs)
        counts = []
        for spec in specs:
            n_a, n_b = dice.integers(0, 900, (2, runs)) * dice.integers(0, 4, (2, runs)).clip(0, 1)
            rates = spec.base_rate * dice.uniform(0.5, 1.5, (2, runs))
            if reserve and bucket in range(8, 14):
                rates = np.minimum(rates + 0.3 * dice.integers(0, 2, runs), 1.0)
            counts.append((n_a, dice.binomial(n_a, rates[0]), n_b, dice.binomial(n_b, rates[1])))
        streams.update(counts, phi)
        doomed |= streams.harmful
        for run, engine in enumerate(engines):
            rows: list[Any] = [(*(float(each[run]) for each in row), phi[run]) for row in counts]
            report = engine.update(rows, bucket)
            assert streams.log_e_rollback[run] == pytest.approx(report.log_e_rollback, abs=1e-9)
            evidence = promoting(specs, mode, report)
            assert streams.log_e_promotion[run] == pytest.approx(evidence, abs=1e-9)
            verdict = Verdict.PROMOTE if streams.safe[run] else Verdict.CONTINUE
            assert report.verdict is (Verdict.ROLLBACK if doomed[run] else verdict), f"seed {seed}"


def test_runs_that_are_kept_go_on_as_if_the_others_had_never_been() -> None:
    """Three runs of two metrics, of which the second ends after the first bucket."""
    first = [(400, np.array([4, 9, 2]), 400, np.array([5, 90, 3]))] * 2
    second = [(300, np.array([8, 1]), 500, np.array([4, 20]))] * 2
    kept, alone = (Streams([ERRORS, POINTS], runs, reserve=0.2) for runs in (3, 2))

    kept.update(first)
    kept.keep(np.array([True, False, True]))
    kept.update(second)
    alone.update([(n_a, x_a[[0, 2]], n_b, x_b[[0, 2]]) for n_a, x_a, n_b, x_b in first])
    alone.update(second)

    assert kept.log_e_rollback.tolist() == alone.log_e_rollback.tolist()
    assert kept.log_e_promotion.tolist() == alone.log_e_promotion.tolist()
    for metric, other in zip(kept.metrics, alone.metrics, strict=True):
        assert metric.rate.tolist() == other.rate.tolist()


def test_the_champions_rate_is_the_engines_prediction_of_it() -> None:
    streams = Streams([ERRORS], 2)
    streams.update([(np.array([100, 0]), np.array([3, 0]), 100, 1)])

    predicted = Centre.at(0.01).after(100, 3).rate
    assert streams.metrics[0].rate == pytest.approx([predicted, 0.01])


@pytest.mark.parametrize(("base_rate", "predicted"), [(1e-12, 1e-9), (1 - 1e-12, 1 - 1e-9)])
def test_the_predicted_rate_is_kept_off_none_and_all(base_rate: float, predicted: float) -> None:
    streams = Streams([MetricSpec("errors", base_rate=base_rate)], 1)

    assert streams.metrics[0].rate.tolist() == [predicted]


def test_a_verdict_is_reached_at_the_inverse_of_its_risk() -> None:
    harmful, safe = [(1500, 15, 1500, 29)], [(1500, 15, 1500, 12)]
    asked = Streams([ERRORS], 1)
    asked.update(harmful)
    risk = exp(-asked.log_e_rollback[0])
    for share, reached in ((1.01, True), (0.99, False)):
        streams = Streams([ERRORS], 1, rollback_risk=share * risk)
        streams.update(harmful)
        assert streams.harmful.tolist() == [reached]

    asked = Streams([ERRORS], 1)
    asked.update(safe)
    risk = exp(-asked.log_e_promotion[0])
    for share, reached in ((1.01, True), (0.99, False)):
        streams = Streams([ERRORS], 1, promotion_risk=share * risk)
        streams.update(safe)
        assert streams.safe.tolist() == [reached]


def test_without_options_they_ask_what_the_engine_asks_by_default() -> None:
    streams, engine = Streams([ERRORS], 1), DecisionEngine([ERRORS])
    assert not streams.harmful.any()
    assert not streams.safe.any()

    for bucket, bad in enumerate([15, 14, 15, 16, 15, 14, 15, 15]):
        streams.update([(1500, 15, 1500, bad)])
        report = engine.update([(1500, 15, 1500, bad)], bucket)

        assert streams.log_e_rollback[0] == pytest.approx(report.log_e_rollback, abs=1e-9)
        assert streams.safe[0] == (report.verdict is Verdict.PROMOTE)
    assert streams.safe.all()


def test_counts_are_of_all_metrics() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Streams([ERRORS, POINTS], 1).update([(100, 1, 100, 1)])
