"""Errors that come in bursts on single pods: noise that no coin makes."""

import numpy as np
from numpy.random import Generator

from shieldx.stats import Dispersion, MetricSpec, Rate
from shieldx.stats.streams import Streams

CHAMPIONS, CHALLENGERS, REQUESTS = 9, 3, 100
CALM, BURST, HOW_OFTEN = 0.005, 0.06, 0.1  # one bucket in ten of a pod; true phi about 3.6
BEFORE, DURING = 60, 120


def false_rollbacks(dice: Generator, runs: int) -> tuple[Rate, Rate]:
    """Return how often an identical version is rolled back, with phi learnt from pods, without."""
    mean = CALM + HOW_OFTEN * (BURST - CALM)
    spec = MetricSpec("errors", base_rate=mean)
    defended, undefended = (Streams([spec], runs, promotion_risk=1e-300) for _ in range(2))
    past = [Dispersion() for _ in range(runs)]
    ever = np.zeros((2, runs), dtype=bool)
    n_a, n_b = CHAMPIONS * REQUESTS, CHALLENGERS * REQUESTS
    for bucket in range(BEFORE + DURING):
        champion, challenger = _arm(dice, runs, CHAMPIONS), _arm(dice, runs, CHALLENGERS)
        if bucket >= BEFORE:
            row = (n_a, champion.sum(axis=1), n_b, challenger.sum(axis=1))
            defended.update([row], np.array([each.phi for each in past]))
            undefended.update([row])
            ever |= [defended.harmful, undefended.harmful]
        for run, dispersion in enumerate(past):
            dispersion.add(
                _by_pod(champion[run]), _by_pod(challenger[run]) if bucket >= BEFORE else {}
            )
    return Rate(int(ever[0].sum()), runs), Rate(int(ever[1].sum()), runs)


def _arm(dice: Generator, runs: int, pods: int) -> np.ndarray:
    rates = np.where(dice.random((runs, pods)) < HOW_OFTEN, BURST, CALM)
    return dice.binomial(REQUESTS, rates)


def _by_pod(bad: np.ndarray) -> dict[str, tuple[float, float]]:
    return {str(pod): (REQUESTS, float(x)) for pod, x in enumerate(bad)}
