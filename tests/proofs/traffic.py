"""Streams of buckets with known true rates, for many runs at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

type Counts = tuple[float, NDArray[Any], float, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many runs of how many looks, and how many requests come between two looks."""

    runs: int
    looks: int
    per_look: int

    @property
    def requests(self) -> int:
        return self.looks * self.per_look

    def steady(
        self, dice: Generator, champion: float, challenger: float, share: float = 0.5
    ) -> Iterator[Counts]:
        """The same rates and the same split for ever."""
        return self.varied(dice, lambda _: (champion, challenger), lambda _: share)

    def ramped(self, dice: Generator, rate: float, ratio: float, drift: float) -> Iterator[Counts]:
        """Weights of 5, 25, 50 % while the champion's rate goes from `rate` to `drift * rate`."""

        def rates(at: float) -> tuple[float, float]:
            champion = rate * drift**at
            return champion, ratio * champion

        return self.varied(dice, rates, lambda at: (0.05, 0.25, 0.5)[min(int(3 * at), 2)])

    def varied(
        self,
        dice: Generator,
        rates: Callable[[float], tuple[float, float]],
        share: Callable[[float], float],
    ) -> Iterator[Counts]:
        """Rates of both arms and the split as functions of time, which goes from 0 to 1."""
        for look in range(self.looks):
            at = look / self.looks
            rate_a, rate_b = rates(at)
            n_b = round(self.per_look * share(at))
            n_a = self.per_look - n_b
            x_a, x_b = dice.binomial(n_a, rate_a, self.runs), dice.binomial(n_b, rate_b, self.runs)
            yield float(n_a), x_a, float(n_b), x_b


def median_and_p90(values: NDArray[np.float64]) -> tuple[float, float]:
    """The run in the middle, and the one that nine of ten are not later than."""
    median, late = np.quantile(values, [0.5, 0.9], method="inverted_cdf")
    return float(median), float(late)
