"""How often the API lets this pod ask, as its refusals have told; pure.

The limits are the API's, which knows all pods of a service account; a relay only spares it what it
would refuse. So nothing is configured here: whoever is refused is told the limit, and from then on
the pod is held to it, until the API has refused nothing for some seconds. Then it is asked freely
again, since the limit may be another one by now.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from shieldx.sidecar.buckets import CLIENT, Claim, LocalBuckets, Rate

HELD_SECONDS: Final = 5.0


class _Limit(msgspec.Struct):
    """What a refusal says of the limit that was met."""

    limit: str = ""
    requests_per_second: float = 0.0
    burst: int = 0


_LIMIT: Final = msgspec.json.Decoder(_Limit)


class Pace:
    """A bucket of the size of the API's, empty when the API's was."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._claim: Claim | None = None
        self._bucket = LocalBuckets(monotonic)
        self._until = 0.0

    def refused(self, payload: bytes) -> None:
        """Take in a refusal of the API for being asked too often."""
        try:
            told = _LIMIT.decode(payload)
        except msgspec.DecodeError:
            return  # No answer of a ledger's API looks so.
        # That of one account is no matter of the pod's.
        if told.limit != CLIENT or told.requests_per_second <= 0 or told.burst <= 0:
            return
        rate = Rate(told.requests_per_second, told.burst)
        self._claim = Claim(CLIENT, 1, rate)
        self._bucket = LocalBuckets(self._monotonic)
        self._bucket.take((self._claim._replace(cost=rate.burst),))
        self._until = self._monotonic() + HELD_SECONDS

    def ask(self) -> tuple[Claim, float] | None:
        """Spend a token for one request; or say what is short, and for how many seconds."""
        claim = self._claim
        if claim is None:
            return None
        if self._monotonic() > self._until:
            self._claim = None
            return None
        (wait,) = self._bucket.take((claim,))
        return (claim, wait) if wait else None
