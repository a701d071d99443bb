"""What `posterior` believes, for many runs at once: arrays with one row a run.

The same sums and the same belief as one engine keeps for its metric, so that a forecast holds back
a weight, or a promotion, exactly where the operator would.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from shieldx.stats.eprocess import Floats
from shieldx.stats.metric import RECENT_SUMS, MetricSpec
from shieldx.stats.posterior import PRIOR_SPREAD

type Flags = NDArray[np.bool_]
type Four = tuple[Floats, Floats, Floats, Floats]  # n_a, x_a, n_b, x_b, each of shape `(runs,)`

_TERMS: Final = 5  # of a sum: two for the ratio, one for its variance, the requests of both arms


class Beliefs:
    """How likely each run's challenger is worse than the margin of `spec`: ever, and lately."""

    def __init__(self, spec: MetricSpec, runs: int, *, recent_buckets: int) -> None:
        self._spec = spec
        self._slot_buckets = -(-recent_buckets // RECENT_SUMS)
        self._sums = np.zeros((runs, _TERMS))
        self._slots = np.zeros((runs, RECENT_SUMS, _TERMS))
        self._in_slot = np.zeros(runs, dtype=np.int64)

    def update(self, counts: Four) -> None:
        """Add one bucket; a run in which an arm had no requests stays as it was."""
        n_a, x_a, n_b, x_b = counts
        seen = (n_a > 0.0) & (n_b > 0.0)
        n = np.where(seen, n_a + n_b, 1.0)
        terms = [
            x_b * n_a / n,
            x_a * n_b / n,
            ((x_a + x_b) * n_a * n_b - x_a * x_b * n) / (n * n),
            n_a,
            n_b,
        ]
        told = np.where(seen[:, None], np.stack(terms, axis=-1), 0.0)
        self._sums += told
        if not self._slot_buckets:
            return
        full = seen & (self._in_slot == self._slot_buckets)
        self._slots[full, :-1] = self._slots[full, 1:]
        self._slots[full, -1] = 0.0
        self._in_slot[full] = 0
        self._slots[:, -1] += told
        self._in_slot += seen

    def worse_than_margin(self, rate: Floats) -> Floats:
        """Return the probability by all buckets; `rate` is the champion's, as predicted now."""
        return self._worse(self._sums, rate)

    def recently_within_margin(self, rate: Floats) -> Flags:
        """Return whether the recent buckets alone would rather be within the margin."""
        if not self._slot_buckets:
            return np.ones(len(rate), dtype=bool)
        recent: Flags = self._worse(self._slots.sum(axis=1), rate) < 0.5  # noqa: PLR2004  half
        return recent

    def keep(self, runs: Flags) -> None:
        """Go on with these runs only."""
        self._sums, self._slots = self._sums[runs], self._slots[runs]
        self._in_slot = self._in_slot[runs]

    def _worse(self, sums: Floats, rate: Floats) -> Floats:
        mean, deviation = _belief(sums)
        relative, absolute = self._spec.margins
        worse = self._spec.worse
        lines = relative.slope * rate, rate + absolute.shift
        margin = np.maximum(*lines) if worse > 0 else np.minimum(*lines)
        with np.errstate(divide="ignore"):
            above = ndtr((mean - np.log(np.maximum(margin, 0.0) / rate)) / deviation)
        return above if worse > 0 else 1.0 - above


def _belief(sums: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation of each run's ln(rate of the challenger / the champion's)."""
    numerator, denominator, spread, n_a, n_b = np.moveaxis(sums, -1, 0)
    known = (n_a > 0.0) & (n_b > 0.0)
    n = np.where(known, n_a + n_b, 2.0)
    pseudo = np.where(known, n_a * n_b / (n * n), 1.0)
    numerator, denominator = numerator + pseudo, denominator + pseudo
    precision = numerator * denominator / (spread + pseudo)
    variance = 1.0 / (precision + PRIOR_SPREAD**-2)
    mean = variance * precision * np.log(numerator / denominator)
    return (
        np.where(known, mean, 0.0),
        np.where(known, np.sqrt(variance), PRIOR_SPREAD),
    )
