"""What will become of an experiment, before it is begun: many runs of made-up versions.

Every run goes through the steps, warm-ups and buckets of the spec and is judged by the same
evidence as a live one; traffic comes as it comes (Poisson), each request fails by itself. Left out:
pods take no time to start and never restart, and failures never come in bursts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf, log
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shieldx.judgement.engine import DOUBTFUL_EVIDENCE, DOUBTFUL_PROBABILITY, question
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.stats import RESTARTS, MetricSpec, Rate
from shieldx.stats.beliefs import Beliefs, Flags
from shieldx.stats.eprocess import Floats
from shieldx.stats.streams import Streams

type Rates = Mapping[str, tuple[float, float]]

# A bucket costs so much that fewer rows than this make it no cheaper.
_FEWEST_ROWS: Final = 300
_MEDIAN, _LATE = 0.5, 0.9


@dataclass(frozen=True, slots=True)
class Scenario:
    """How both versions really are: by guardrail, the bad share of champion and challenger."""

    name: str
    rates: Rates


@dataclass(frozen=True, slots=True)
class Ending:
    """How often runs ended in this way, and after how many seconds of traffic.

    `median` and `late` (nine of ten) are over all runs, infinite where too few ended so.
    """

    rate: Rate
    median: float
    late: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What becomes of a scenario; `seconds` is how far was looked ahead."""

    scenario: Scenario
    promoted: Ending
    rolled_back: Ending
    undecided: Rate
    seconds: float


def forecast(
    spec: ShadowExperimentSpec,
    scenarios: Sequence[Scenario],
    dice: Generator,
    *,
    base_rates: Mapping[str, float],
    requests_per_second: float,
    runs: int,
    horizon: timedelta,
    effort: int | None = None,
    weigh: Callable[[int], float] = lambda weight: weight / 100,
) -> list[Forecast]:
    """Let `runs` experiments of each scenario run until each has ended, or `horizon` is over.

    `base_rates` is what the operator measured of the champion beforehand; `weigh` gives the share
    of the traffic that a weight in percent really gets. `effort` bounds the work, in runs times
    buckets times guardrails: with less than it takes, one looks less far ahead, and the forecasts
    say how far.
    """
    crowd = _Crowd(spec, scenarios, base_rates, runs, weigh)
    bucket = spec.decision.bucket.total_seconds()
    left, buckets = inf if effort is None else effort, 0
    for number in range(int(horizon / spec.decision.bucket)):
        rows = len(crowd.alive)
        if not rows or left <= 0:
            break
        left -= max(rows, _FEWEST_ROWS) * len(spec.guardrails)
        crowd.live(number * bucket, dice, requests_per_second * bucket)
        buckets = number + 1
    seconds = horizon.total_seconds() if not len(crowd.alive) else buckets * bucket
    return [
        _forecast(scenario, crowd.promoted[at], crowd.rolled_back[at], seconds)
        for at, scenario in enumerate(scenarios)
    ]


class _Crowd:
    """All runs of all scenarios, of which those that have not ended live on."""

    def __init__(
        self,
        spec: ShadowExperimentSpec,
        scenarios: Sequence[Scenario],
        base_rates: Mapping[str, float],
        runs: int,
        weigh: Callable[[int], float],
    ) -> None:
        metrics, asked = question(spec, 0, base_rates)
        self._guarded = [metric for metric in metrics if metric.name != RESTARTS.name]
        rows = len(scenarios) * runs
        self.promoted = np.full((len(scenarios), runs), inf)
        self.rolled_back = np.full((len(scenarios), runs), inf)
        self.alive = np.arange(rows)
        recent = asked.pop("recent_buckets")
        self._fewest_buckets = asked.pop("min_buckets")
        self._streams = Streams(metrics, rows, **asked)
        self._beliefs = [Beliefs(metric, rows, recent_buckets=recent) for metric in self._guarded]
        self._rates = [
            np.repeat([scenario.rates[metric.name] for scenario in scenarios], runs, axis=0)
            for metric in self._guarded
        ]
        self._bucket = spec.decision.bucket.total_seconds()
        self._least = spec.decision.min_duration.total_seconds()
        self._settle = spec.settle.total_seconds()
        self._weights = np.array([weigh(step.weight) for step in spec.steps])
        self._holds = np.array([step.hold.total_seconds() for step in spec.steps])
        self._step = np.zeros(rows, dtype=np.int64)
        self._reached = np.zeros(rows)
        self._buckets = np.zeros(rows, dtype=np.int64)

    def live(self, start: float, dice: Generator, requests: float) -> None:
        """Let one bucket pass, and take those that have ended out of the crowd."""
        end = start + self._bucket
        counted = start >= self._reached + self._settle
        share = self._weights[self._step]
        n_a = np.where(counted, dice.poisson(requests * (1.0 - share)), 0)
        n_b = np.where(counted, dice.poisson(requests * share), 0)
        self._count(n_a, n_b, dice)
        harmful = self._streams.harmful
        seen = (n_a > 0) & (n_b > 0)
        self._buckets += seen
        fine = seen & ~self._doubtful()
        due = fine & (end >= self._reached + self._holds[self._step])
        last = self._step == len(self._weights) - 1
        proven = due & last & ~harmful & self._proven() & (end >= self._least)
        rises = due & ~last
        self._step[rises] += 1
        self._reached[rises] = end
        self.rolled_back.flat[self.alive[harmful]] = end
        self.promoted.flat[self.alive[proven]] = end
        self._keep(~harmful & ~proven)

    def _count(self, n_a: NDArray[np.int64], n_b: NDArray[np.int64], dice: Generator) -> None:
        nothing = np.zeros(len(n_a))
        rows = []
        for rates, beliefs in zip(self._rates, self._beliefs, strict=True):
            x_a, x_b = dice.binomial(n_a, rates[:, 0]), dice.binomial(n_b, rates[:, 1])
            row = tuple(each.astype(np.float64) for each in (n_a, x_a, n_b, x_b))
            rows.append(row)
            beliefs.update((row[0], row[1], row[2], row[3]))
        self._streams.update([*rows, (nothing,) * 4])

    def _doubtful(self) -> Flags:
        doubtful: Flags = self._streams.log_e_rollback >= log(DOUBTFUL_EVIDENCE)
        for beliefs, rate in self._believed():
            doubtful |= beliefs.worse_than_margin(rate) >= DOUBTFUL_PROBABILITY
        return doubtful

    def _proven(self) -> Flags:
        proven: Flags = self._streams.safe & (self._buckets >= self._fewest_buckets)
        for beliefs, rate in self._believed():
            proven &= beliefs.recently_within_margin(rate)
        return proven

    def _believed(self) -> list[tuple[Beliefs, Floats]]:
        rates = [metric.rate for metric in self._streams.metrics[: len(self._guarded)]]
        return list(zip(self._beliefs, rates, strict=True))

    def _keep(self, runs: Flags) -> None:
        if runs.all():
            return
        self.alive, self._step = self.alive[runs], self._step[runs]
        self._reached, self._buckets = self._reached[runs], self._buckets[runs]
        self._rates = [rates[runs] for rates in self._rates]
        self._streams.keep(runs)
        for beliefs in self._beliefs:
            beliefs.keep(runs)


def _forecast(
    scenario: Scenario, promoted: Floats, rolled_back: Floats, seconds: float
) -> Forecast:
    neither = np.isinf(promoted) & np.isinf(rolled_back)
    return Forecast(
        scenario,
        promoted=_ending(promoted),
        rolled_back=_ending(rolled_back),
        undecided=Rate(int(neither.sum()), len(neither)),
        seconds=seconds,
    )


def _ending(times: Floats) -> Ending:
    rate = Rate(int(np.isfinite(times).sum()), len(times))
    median, late = np.quantile(times, [_MEDIAN, _LATE], method="higher")
    return Ending(rate, float(median), float(late))


def margin_rate(metric: MetricSpec) -> float:
    """Return the challenger's rate at the margin, where the champion's is the base rate."""
    return metric.margin_at(metric.base_rate).at(metric.base_rate)
