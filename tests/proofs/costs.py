"""What a bucket costs, and whether a restart shows."""

import json
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np
from numpy.random import Generator

from shieldx.stats import RESTARTS, DecisionEngine, MetricSpec

SPECS = [
    MetricSpec("errors", base_rate=0.005, margin_rel=0.0, margin_abs=0.015, tolerance_rel=1.0),
    MetricSpec("slow", base_rate=0.05, margin_rel=0.25, mde=0.1),
    RESTARTS,
]
OPTIONS: dict[str, Any] = {"bucket_share": 1 / 3, "recent_buckets": 30, "reserve": 0.1}


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor seconds and bytes a metric, and whether restarts changed anything."""

    seconds: float
    state: int
    buckets: int
    exact: bool


def cost_of_a_bucket(dice: Generator, buckets: int = 400) -> Cost:
    through, broken = DecisionEngine(SPECS, **OPTIONS), DecisionEngine(SPECS, **OPTIONS)
    seconds, state, exact = [], 0, True
    for end in range(buckets):
        n_a, n_b = (int(n) for n in dice.integers(1, 900, size=2))
        counts: list[Any] = [
            (n_a, int(dice.binomial(n_a, 0.4 if end % 90 > 84 else 0.005)), n_b, n_b // 170, 1.37),
            None if end % 7 == 3 else (n_a, n_a // 20, n_b, n_b // 19),
            (3, 0, 2, int(end % 50 == 20)),
        ]
        begun = process_time()
        report = through.update(counts, end)
        seconds.append((process_time() - begun) / len(SPECS))
        broken = DecisionEngine.load(SPECS, json.loads(json.dumps(broken.dump())), **OPTIONS)
        exact &= broken.update(counts, end) == report == broken.update(counts, end)
        exact &= broken.dump() == through.dump()
        state = max(state, *(len(json.dumps(metric)) for metric in through.dump()["metrics"]))
    return Cost(float(np.median(seconds)), state, buckets, exact)
