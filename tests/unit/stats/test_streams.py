"""Many runs at once are the engine, run by run."""

from typing import Any

import numpy as np
import pytest

from shieldx.stats import DecisionEngine, MetricSpec, Verdict
from shieldx.stats.eprocess import Centre
from shieldx.stats.streams import Streams

ERRORS = MetricSpec("errors", base_rate=0.01, margin_rel=1.0, tolerance_rel=0.4)
POINTS = MetricSpec("points", base_rate=0.02, margin_rel=0.0, margin_abs=0.01, weight=2.0)
BOTH = MetricSpec("both", base_rate=0.02, margin_rel=0.4, margin_abs=0.009, harm_only=True)
ORDERS = MetricSpec("orders", "higher", 0.05, margin_rel=0.1, mde=0.3, primary=True)


@pytest.mark.parametrize(
    ("specs", "mode"),
    [
        ([ERRORS], "noninferiority"),
        ([ERRORS], "superiority"),
        ([ERRORS, POINTS, BOTH], "noninferiority"),
        ([POINTS, ORDERS], "superiority"),
    ],
)
@pytest.mark.parametrize("share", [1.0, 1 / 3])
def test_each_run_is_judged_as_the_engine_would(
    specs: list[MetricSpec], mode: Any, share: float
) -> None:
    seed = np.random.SeedSequence().generate_state(1)[0]
    dice = np.random.default_rng(seed)
    runs = 5
    options: dict[str, Any] = {
        "bucket_share": share,
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
            counts.append((n_a, dice.binomial(n_a, rates[0]), n_b, dice.binomial(n_b, rates[1])))
        streams.update(counts, phi)
        doomed |= streams.harmful
        for run, engine in enumerate(engines):
            rows: list[Any] = [(*(float(each[run]) for each in row), phi[run]) for row in counts]
            report = engine.update(rows, bucket)
            assert streams.log_e_rollback[run] == pytest.approx(report.log_e_rollback, abs=1e-9)
            verdict = Verdict.PROMOTE if streams.safe[run] else Verdict.CONTINUE
            assert report.verdict is (Verdict.ROLLBACK if doomed[run] else verdict), f"seed {seed}"


def test_runs_that_are_kept_go_on_as_if_the_others_had_never_been() -> None:
    """Three runs of two metrics, of which the second ends after the first bucket."""
    first = [(400, np.array([4, 9, 2]), 400, np.array([5, 90, 3]))] * 2
    second = [(300, np.array([8, 1]), 500, np.array([4, 20]))] * 2
    kept, alone = Streams([ERRORS, POINTS], 3), Streams([ERRORS, POINTS], 2)

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
