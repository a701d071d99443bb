"""What is believed of many runs at once is what each run's engine believes."""

import numpy as np
import pytest

from shieldx.stats import DecisionEngine, MetricSpec
from shieldx.stats.beliefs import Beliefs
from shieldx.stats.streams import Streams

LOWER = MetricSpec("errors", base_rate=0.02, margin_rel=0.3, margin_abs=0.01)
HIGHER = MetricSpec("orders", "higher", 0.05, margin_rel=0.1)


@pytest.mark.parametrize("spec", [LOWER, HIGHER])
@pytest.mark.parametrize("recent", [0, 3, 20])
def test_each_run_is_believed_as_by_its_engine(spec: MetricSpec, recent: int) -> None:
    seed = np.random.SeedSequence().generate_state(1)[0]
    dice = np.random.default_rng(seed)
    runs = np.arange(6)
    engines = [DecisionEngine([spec], recent_buckets=recent) for _ in runs]
    beliefs, streams = Beliefs(spec, len(runs), recent_buckets=recent), Streams([spec], len(runs))

    for bucket in range(60):
        if bucket == 30:  # half of them end
            some = np.arange(len(runs)) % 2 == 0
            beliefs.keep(some)
            streams.keep(some)
            runs = runs[some]
        # Now and then an arm has no request.
        n_a, n_b = (
            dice.integers(0, 900, (2, len(runs))) * dice.integers(0, 4, (2, len(runs)))
        ) // 3
        x_a, x_b = dice.binomial(n_a, 0.02), dice.binomial(n_b, 0.025)
        row = tuple(each.astype(float) for each in (n_a, x_a, n_b, x_b))
        beliefs.update((row[0], row[1], row[2], row[3]))
        streams.update([row])
        rate = streams.metrics[0].rate
        worse, lately = beliefs.worse_than_margin(rate), beliefs.recently_within_margin(rate)
        for at, run in enumerate(runs):
            counts = (float(n_a[at]), float(x_a[at]), float(n_b[at]), float(x_b[at]))
            report = engines[run].update([counts], bucket).metrics[spec.name]
            assert worse[at] == pytest.approx(report.probability_worse_than_margin, abs=1e-9)
            recently = report.probability_worse_than_margin_recent
            assert lately[at] == (recently is None or recently < 0.5), f"seed {seed}"
