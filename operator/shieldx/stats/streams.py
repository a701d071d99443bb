"""Many runs of the decision at once: how often and how fast it errs, before it is asked.

The same evidence as `engine`, from the same functions, over arrays with one row a run, so that
thousands of runs take seconds. It knows no restarts, and it judges a promotion by the
evidence alone: the engine's condition on the recent past can only come on top.
"""

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shieldx.stats.engine import Mode, cut_at
from shieldx.stats.eprocess import (
    FORGET,
    MEMORY,
    SMALLEST_RATE,
    Floats,
    Line,
    Mixture,
    harm_mixture,
    log_e_values,
    log_sums_exp,
    noninferiority_mixture,
    superiority_mixture,
)
from shieldx.stats.jumps import REMEMBERED, STAKED, has_jumped, with_capital
from shieldx.stats.metric import MetricSpec

type Flags = NDArray[np.bool_]
type Each = NDArray[Any] | float  # one for all runs, or one a run: shape `(runs,)`


class Streams:
    """One engine per run: feed all of them a bucket, see which would roll back or promote."""

    def __init__(
        self,
        specs: Sequence[MetricSpec],
        runs: int,
        mode: Mode = "noninferiority",
        *,
        rollback_risk: float = 0.01,
        promotion_risk: float = 0.01,
        bucket_share: float = 1.0,
        reserve: float = 0.0,
    ) -> None:
        self._harm_threshold = log(1.0 / rollback_risk)
        self._promotion_threshold = log(1.0 / promotion_risk)
        self.metrics = [
            _Metric(
                spec,
                runs,
                harm_cut=cut_at(bucket_share, rollback_risk),
                promotion_cut=cut_at(bucket_share, promotion_risk),
                superior=mode == "superiority" and (spec.primary or len(specs) == 1),
                reserve=reserve,
            )
            for spec in specs
        ]
        weights = np.array([spec.weight for spec in specs])
        self._log_weights = np.log(weights / weights.sum())

    def update(self, counts: Sequence[Sequence[Each]], phi: Each = 1.0) -> None:
        """Take in one bucket: per metric (n_a, x_a, n_b, x_b), each a number or `(runs,)`."""
        for metric, row in zip(self.metrics, counts, strict=True):
            n_a, x_a, n_b, x_b = (_column(each) for each in row)
            metric.update((n_a, x_a, n_b, x_b), _column(phi))

    @property
    def log_e_rollback(self) -> Floats:
        """The log of the averaged harm e-value, shape `(runs,)`."""
        return log_sums_exp(
            self._log_weights + np.stack([metric.log_e_harm for metric in self.metrics], axis=-1)
        )

    @property
    def harmful(self) -> Flags:
        """Which runs are at a roll-back now, shape `(runs,)`; it stays one, in the engine."""
        return self.log_e_rollback >= self._harm_threshold

    @property
    def log_e_promotion(self) -> Floats:
        """The least log e-value of those that a promotion needs, shape `(runs,)`."""
        deciding = [metric.log_e_safe for metric in self.metrics if not metric.spec.harm_only]
        return np.stack(deciding).min(axis=0)

    @property
    def safe(self) -> Flags:
        """Which runs have what a promotion needs now, shape `(runs,)`."""
        return self.log_e_promotion >= self._promotion_threshold

    def keep(self, runs: Flags) -> None:
        """Go on with these runs only."""
        for metric in self.metrics:
            metric.keep(runs)


class _Metric:
    """The evidence on one metric in all runs: arrays of shape `(runs, k)`."""

    def __init__(
        self,
        spec: MetricSpec,
        runs: int,
        *,
        harm_cut: float,
        promotion_cut: float,
        superior: bool,
        reserve: float,
    ) -> None:
        self.spec = spec
        self._cuts = harm_cut, promotion_cut
        self._superior = superior
        self._harm_mixture = harm_mixture(spec.worse)
        self._safe_mixture: Mixture = (
            superiority_mixture(spec.effect_log_odds, -spec.worse)
            if superior
            else noninferiority_mixture(spec.margin_log_odds)
        )
        self._heeds_jumps = reserve > 0.0
        self._kept = np.full((runs, 1), reserve)
        stake = log(1.0 - reserve)
        self._harm = np.full((runs, len(self._harm_mixture.deltas)), stake)
        self._safe = np.full((runs, len(self._safe_mixture.deltas)), stake)
        self._events = np.full((runs, 1), MEMORY * spec.base_rate)
        self._requests = np.full((runs, 1), MEMORY)

    @property
    def log_e_harm(self) -> Floats:
        return with_capital(self._harm_mixture.log_e_of_runs(self._harm), self._kept[:, 0])

    @property
    def log_e_safe(self) -> Floats:
        """Non-inferiority's, or superiority's where that decides."""
        return with_capital(self._safe_mixture.log_e_of_runs(self._safe), self._kept[:, 0])

    @property
    def rate(self) -> Floats:
        """The champion's rate as predicted for the next bucket, shape `(runs,)`."""
        rate: Floats = self._rate()[:, 0]
        return rate

    def keep(self, runs: Flags) -> None:
        self._harm, self._safe = self._harm[runs], self._safe[runs]
        self._events, self._requests = self._events[runs], self._requests[runs]
        self._kept = self._kept[runs]

    def update(self, counts: tuple[Floats, Floats, Floats, Floats], phi: Floats) -> None:
        spec = self.spec
        rate = self._rate()
        harm = log_e_values(counts, rate, self._harm_mixture.deltas, spec.tolerated, spec.worse)
        self._harm += np.minimum(harm / phi, self._cuts[0])
        safe = self._log_e_safe_values(counts, rate)
        self._safe += np.minimum(safe / phi, self._cuts[1])
        n_a, x_a, _, _ = counts
        seen = n_a > 0.0
        if self._heeds_jumps:
            self._heed(seen & has_jumped(n_a, x_a, rate, phi), n_a, rate)
        self._events = np.where(seen, FORGET * self._events + x_a, self._events)
        self._requests = np.where(seen, FORGET * self._requests + n_a, self._requests)

    def _heed(self, jumped: Flags, n_a: Floats, rate: Floats) -> None:
        requests = np.minimum(self._requests, REMEMBERED * n_a)
        self._events = np.where(jumped, requests * rate, self._events)
        self._requests = np.where(jumped, requests, self._requests)
        more = np.where(jumped, STAKED * self._kept, 0.0)
        self._kept = self._kept - more
        self._harm = with_capital(self._harm, more)
        self._safe = with_capital(self._safe, more)

    def _rate(self) -> Floats:
        rates: Floats = np.clip(self._events / self._requests, SMALLEST_RATE, 1.0 - SMALLEST_RATE)
        return rates

    def _log_e_safe_values(
        self, counts: tuple[Floats, Floats, Floats, Floats], rate: Floats
    ) -> Floats:
        spec, deltas = self.spec, self._safe_mixture.deltas
        if self._superior:
            return log_e_values(counts, rate, deltas, Line(), -spec.worse)
        relative, absolute = spec.margins
        if absolute.shift == 0.0:
            return log_e_values(counts, rate, deltas, relative, -spec.worse)
        of_absolute = log_e_values(counts, rate, deltas, absolute, -spec.worse)
        if relative.slope == 1.0:
            return of_absolute
        of_relative = log_e_values(counts, rate, deltas, relative, -spec.worse)
        looser = spec.worse * (absolute.shift - (relative.slope - 1.0) * rate) > 0.0
        return np.where(looser, of_absolute, of_relative)


def _column(each: Each) -> Floats:
    return np.asarray(each, dtype=np.float64).reshape(-1, 1)
