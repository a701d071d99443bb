"""The cluster's signing keys as this process knows them, kept up with the cluster.

They are fetched when the process starts, every few minutes, and soon after a token came that is
signed by none of them: so a rotation is noticed at once, and a flood of made-up key ids costs a
fetch every few seconds at most. Keys that could not be confirmed for an hour are not believed any
more. Without keys nothing is lost but speed: the cluster is asked about each token.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Protocol

from shieldx.kube.key_set import KeysError, KeySet
from shieldx.kube.tokens import ReviewUnavailableError

logger = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 300.0
LEAST_PAUSE_SECONDS: Final = 5.0
BELIEVED_SECONDS: Final = 3600.0


class KeySource(Protocol):
    """Who publishes the keys: the discovery document and the JWKS."""

    async def signing_keys(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]: ...


class SigningKeys:
    """The keys that are known now; `follow` fetches them."""

    def __init__(
        self,
        source: KeySource,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        least_pause_seconds: float = LEAST_PAUSE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._refresh_seconds = refresh_seconds
        self._least_pause_seconds = least_pause_seconds
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._fetched = 0.0
        self._wanted = asyncio.Event()

    def current(self) -> KeySet | None:
        """Return the keys, if they are known and fresh enough to be believed."""
        stale = self._monotonic() - self._fetched > BELIEVED_SECONDS
        return None if stale else self._keys

    def look_again(self) -> None:
        """Have the keys fetched soon: a token was signed by none of them, or for another issuer."""
        self._wanted.set()

    async def follow(self) -> NoReturn:
        """Keep the keys up with the cluster, for ever."""
        while True:
            self._wanted.clear()
            pause = self._refresh_seconds if await self.fetch() else self._least_pause_seconds
            await asyncio.sleep(self._least_pause_seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause - self._least_pause_seconds):
                    await self._wanted.wait()

    async def fetch(self) -> bool:
        """Fetch the keys once; False if the cluster did not answer, and the old ones stay."""
        try:
            keys = KeySet.parse(*await self._source.signing_keys()).after(self._keys)
        except (ReviewUnavailableError, KeysError) as error:
            logger.warning("The cluster's signing keys cannot be fetched: %s", error)
            return False
        except Exception:
            logger.exception("The cluster's signing keys cannot be fetched")
            return False
        known = set() if self._keys is None else set(self._keys.keys)
        if set(keys.keys) != known:
            logger.info("Tokens of %s are verified by %d keys", keys.issuer, len(keys.keys))
        self._keys, self._fetched = keys, self._monotonic()
        return True
