"""Outages that both versions share: what they cost the evidence, for many runs at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from shieldx.stats import MetricSpec, half_way_tolerance
from shieldx.stats.beliefs import Beliefs
from shieldx.stats.eprocess import Floats
from shieldx.stats.streams import Streams
from tests.proofs.traffic import Counts

# As the operator asks, with buckets of 10 s and 30 requests a second to either version.
ASKED: Final[dict[str, Any]] = {"bucket_share": 1 / 3, "reserve": 0.1}
WITHOUT: Final = {**ASKED, "reserve": 0.0}
REQUESTS, RECENT, LAST = 300, 30, 100
BEGINS, ENDS, LATER = 3.5, 9.5, 10  # in buckets: a minute, begun and ended in mid-bucket


@dataclass(frozen=True, slots=True)
class Outage:
    """A metric, the rate that both versions have for a minute, and one that is plainly bad."""

    name: str
    spec: MetricSpec
    rate: float
    bad: float

    @property
    def hurts(self) -> bool:
        return self.rate > self.spec.base_rate

    def quiet(self) -> "Outage":
        """The same metric without an outage."""
        return replace(self, rate=self.spec.base_rate)

    def buckets(
        self,
        dice: Generator,
        runs: int,
        *,
        on_margin: bool = False,
        turns: float | None = None,
        last: int = LAST,
    ) -> Iterator[Counts]:
        """Give the challenger the champion's rate or the margin's, and after the outage `turns`."""
        usual = self.spec.base_rate
        for bucket in range(last):
            part = max(0.0, min(bucket + 1, ENDS) - max(bucket, BEGINS))
            champion = usual + part * (self.rate - usual)
            margin = self.spec.margin_at(champion).at(champion)
            challenger = margin if on_margin else champion
            if turns is not None and bucket >= LATER:
                challenger = turns
            x_a, x_b = (dice.binomial(REQUESTS, rate, runs) for rate in (champion, challenger))
            yield REQUESTS, x_a, REQUESTS, x_b


def _spec(base_rate: float, relative: float = 0.0, absolute: float = 0.0) -> MetricSpec:
    tolerance = half_way_tolerance(base_rate, relative, absolute)
    return MetricSpec(
        "m",
        base_rate=base_rate,
        margin_rel=relative,
        margin_abs=absolute,
        tolerance_rel=tolerance,
    )


OUTAGES: Final = (
    Outage("0.5 %, + 0.5 points; 18 % fail", _spec(0.005, absolute=0.005), 0.18, 0.05),
    Outage("0.5 %, + 0.5 points; 50 % fail", _spec(0.005, absolute=0.005), 0.5, 0.05),
    Outage("1 %, + 2 points; 40 % fail", _spec(0.01, absolute=0.02), 0.4, 0.05),
    Outage("5 % slow, twice as many; 40 % are slow", _spec(0.05, relative=1.0), 0.4, 0.15),
)


@dataclass(frozen=True, slots=True)
class Course:
    """In which bucket, counted from 1, each run was promoted and rolled back; infinite: never."""

    promoted: Floats
    rolled_back: Floats


def course(
    outage: Outage, buckets: Iterator[Counts], runs: int, *, asked: dict[str, Any] = ASKED
) -> Course:
    """Judge all buckets; of promotions those count that are there after the outage."""
    streams = Streams([outage.spec], runs, **asked)
    beliefs = Beliefs(outage.spec, runs, recent_buckets=RECENT)
    promoted, rolled_back = np.full(runs, inf), np.full(runs, inf)
    everyone = np.ones(runs)
    for bucket, (n_a, x_a, n_b, x_b) in enumerate(buckets, start=1):
        streams.update([(n_a, x_a, n_b, x_b)])
        beliefs.update((n_a * everyone, x_a * everyone, n_b * everyone, x_b * everyone))
        safe = streams.safe & beliefs.recently_within_margin(streams.metrics[0].rate)
        rolled_back[streams.harmful & np.isinf(rolled_back)] = bucket
        if bucket > LATER or not outage.hurts:
            promoted[safe & np.isinf(promoted)] = bucket
    return Course(promoted, rolled_back)
