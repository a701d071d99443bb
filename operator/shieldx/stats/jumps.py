"""Jumps of the champion's rate: the prediction forgets, and capital that was kept back is staked.

An outage that both versions share says little about the challenger, and yet it would cost what is
known of it. Its first bucket meets a prediction that is far off, so the bets on it are wild, and
their gains are cut where their losses are not. After its end the prediction is still the outage's,
and a bet at a wrong rate wins nothing. So a bucket of the champion that its prediction cannot
explain is a *jump*, after which

* the prediction forgets what was before, but for a quarter of a bucket;
* half of the capital that was kept back until then is staked: shared out like the first stake, it
  plays along from the next bucket on. However much the earlier stakes lost, evidence begins anew
  from there; the other half waits for the next jump.

Why it holds: a bucket is a jump or not once it is past, so it is known before the next one where
the capital lies. Capital that is kept back stays what it is, and capital at stake is multiplied by
e-values: together a nonnegative supermartingale that begins at one. It is a mixture over the times
at which one begins to look, like the e-detectors of Shin, Ramdas and Rinaldo ("E-detectors: a
nonparametric framework for sequential change detection", 2024), but with weights that sum to one.
"""

from typing import Any, Final

import numpy as np
from scipy.special import rel_entr

from shieldx.stats.eprocess import Centre, Floats, Numbers

JUMP: Final = 10.0  # log units; chance alone goes so far in one of 11,000 buckets at most
REMEMBERED: Final = 0.25  # of a bucket: what the past is worth after a jump
STAKED: Final = 0.5  # of what is kept back, at each jump


def has_jumped(n: Numbers, x: Numbers, rate: Numbers, phi: Numbers) -> Any:
    """Return whether `rate` cannot explain a bucket of `x` events in `n` requests.

    By the relative entropy of the bucket to the prediction, over the dispersion: by Chernoff's
    bound chance alone exceeds `JUMP` with probability 2 exp(-JUMP) at most, at that rate. One
    answer, or one a run, of the shape of the counts.
    """
    surprise = rel_entr(x, n * rate) + rel_entr(n - x, n * (1.0 - rate))
    return surprise / phi > JUMP


def forgotten(centre: Centre, n: float) -> Centre:
    """Keep the rate, and no more of what it was made of than a quarter of `n` requests."""
    requests = min(centre.requests, REMEMBERED * n)
    return Centre(requests * centre.rate, requests)


def with_capital(log_e: Floats, capital: Numbers) -> Floats:
    """Return ln(exp(log_e) + capital): exactly `log_e` where there is none."""
    with np.errstate(divide="ignore"):
        together: Floats = np.logaddexp(log_e, np.log(capital))
    return together
