"""Pairs of outcomes, for many runs at once, with the bets of the shipped engine."""

from math import inf, log

import numpy as np
from numpy.random import Generator

from shieldx.stats.eprocess import Floats, log_sums_exp
from shieldx.stats.pairs import Claim

PER_LOOK = 100
RISK = 0.01
NO_BETTER, NO_WORSE = Claim(1.0, -1.0), Claim(-1.0, 1.0)


def joint(champion: float, challenger: float, correlation: float) -> list[float]:
    """Chances of (both good, both bad, champion's bad alone, challenger's bad alone)."""
    scale = (champion * (1.0 - champion) * challenger * (1.0 - challenger)) ** 0.5
    both = champion * challenger + correlation * scale
    return [1.0 - champion - challenger + both, both, champion - both, challenger - both]


def requests_of_pairs(
    dice: Generator,
    runs: int,
    chances: list[float],
    horizon: int,
    claim: Claim = NO_BETTER,
) -> Floats:
    """Return after how many user requests each run has refuted the claim, or infinity."""
    bets = claim.log_bets
    evidence = np.zeros((runs, len(bets)))
    first = np.full(runs, inf)
    for look in range(1, horizon // PER_LOOK + 1):
        evidence += dice.multinomial(PER_LOOK, chances, size=runs) @ bets.T
        there = log_sums_exp(evidence) - log(len(bets)) >= log(1.0 / RISK)
        first[there & np.isinf(first)] = look * PER_LOOK
    return first
