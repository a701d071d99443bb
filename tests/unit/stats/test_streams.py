"""Many runs at once are the engine, run by run."""

from typing import Any

import numpy as np
import pytest

from shieldx.stats import DecisionEngine, MetricSpec, Verdict
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
