"""Whether traffic is split as it was asked for: a sample-ratio test that may be watched.

Where a router decides request by request, the challenger's part of a bucket is a coin with a
known bias. A split that is not the asked one means that requests are lost, cached or routed
by something else, and then no comparison of the two arms can be trusted. It does not hold where
connections are balanced instead of requests: healthy ones look uneven there.

Per bucket the e-value is the likelihood ratio of a shifted bias to the asked one, averaged over
shifts of the odds from 5 % to 25-fold both ways; the asked bias may change from bucket to bucket.
The null is one point, so its expectation is exactly 1.
"""

from collections.abc import Mapping
from math import log
from typing import Any, Final, Self

import numpy as np

from shieldx.stats.eprocess import Mixture, clip_rate, shift_odds

_SHIFTS: Final = 0.05 * np.exp2(np.arange(7.0))
_MIXTURE: Final = Mixture.of(np.concatenate([-_SHIFTS, _SHIFTS]), np.ones(2 * len(_SHIFTS)))


class SampleRatio:
    """The running evidence that the challenger's share of requests is not the asked one.

    `risk` bounds the chance that a split as asked for is ever called a mismatch, however long
    and often one looks. ValueError where it is no probability.
    """

    def __init__(self, risk: float = 0.001) -> None:
        if not 0.0 < risk < 1.0:
            raise ValueError(f"risk is a probability between 0 and 1, got {risk}")
        self._threshold = log(1.0 / risk)
        self._evidence = np.zeros(len(_MIXTURE.deltas))
        self._mismatch = False

    @property
    def log_e(self) -> float:
        return _MIXTURE.log_e(self._evidence)

    @property
    def mismatch(self) -> bool:
        """Whether the evidence ever reached 1 / risk."""
        return self._mismatch

    def add(self, n_champion: float, n_challenger: float, share: float) -> None:
        """Learn from one bucket in which the challenger was to get `share` of the requests."""
        if not (n_champion >= 0.0 and n_challenger >= 0.0 and 0.0 <= share <= 1.0):
            raise ValueError(f"no split: {n_champion}, {n_challenger} at {share}")
        share = clip_rate(share)
        shifted = shift_odds(share, _MIXTURE.deltas)
        self._evidence = (
            self._evidence
            + n_challenger * np.log(shifted / share)
            + n_champion * (np.log1p(-shifted) - np.log1p(-share))
        )
        self._mismatch = self._mismatch or self.log_e >= self._threshold

    def dump(self) -> dict[str, Any]:
        """Return a JSON-able state."""
        return {"evidence": self._evidence.tolist(), "mismatch": self._mismatch}

    @classmethod
    def load(cls, state: Mapping[str, Any], risk: float = 0.001) -> Self:
        """Continue from `dump()`."""
        ratio = cls(risk)
        ratio._evidence = np.array(state["evidence"], dtype=np.float64)
        ratio._mismatch = bool(state["mismatch"])
        return ratio
