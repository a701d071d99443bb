"""Service-account tokens, believed on their signature at once and confirmed by the cluster behind.

No request waits for the cluster: a token that one of its keys has signed lets its caller in, and
a token review is asked for in the background, once a minute for a token in use. The review knows
what a signature cannot tell, that the account or the pod has been deleted. Its no counts at once,
and such a token is never believed on its signature again: from then on the cluster must say yes
before anybody is let in on it. While the cluster does not answer, signatures count
(docs/decisions/0007-tokens-verified-locally.md).

What the keys cannot judge is the cluster's to answer, as if there were no keys. What they refuse
is remembered for some seconds, but only as long as they are the keys: looking at a bad token again
costs ten times as much as at a good one that is known.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from typing import Final

from shieldx.kube.key_set import OTHER_ISSUER, KeySet, UndecidedError
from shieldx.kube.signing_keys import SigningKeys
from shieldx.kube.tokens import (
    AUDIENCE,
    CAPACITY,
    NO_SECONDS,
    Reviewed,
    ReviewUnavailableError,
    TokenCache,
)

logger = logging.getLogger(__name__)

# So long a signature is believed before it is looked at, and the cluster asked, again.
BELIEVED_SECONDS: Final = 10.0


class SignedTokens:
    """Judges tokens by the cluster's keys, and by its reviews where they say more."""

    def __init__(
        self,
        reviews: TokenCache,
        keys: SigningKeys,
        *,
        audience: str = AUDIENCE,
        capacity: int = CAPACITY,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._reviews = reviews
        self._keys = keys
        self._audience = audience
        self._capacity = capacity
        self._monotonic = monotonic
        self._wall = wall
        self._believed: dict[bytes, Reviewed] = {}
        self._revoked: dict[bytes, None] = {}
        self._refused: dict[bytes, tuple[KeySet, Reviewed]] = {}
        self._confirming: set[asyncio.Task[None]] = set()

    def known(self, token: bytes, digest: bytes | None = None) -> Reviewed | None:
        """Return what is known of the token now; None if the cluster must be asked.

        `digest` is its SHA-256, for whoever has it already.
        """
        if digest is None:
            digest = hashlib.sha256(token).digest()
        reviewed = self._reviews.known(token, digest)
        if reviewed is not None:
            return reviewed
        if digest in self._revoked:
            return None
        believed = self._believed.get(digest)
        if believed is not None and believed.until > self._monotonic():
            return believed
        return self._verify(token, digest)

    async def review(self, token: bytes) -> Reviewed:
        """Return the cluster's answer about a token; ReviewUnavailableError if there is none."""
        return await self._reviews.review(token)

    def _verify(self, token: bytes, digest: bytes) -> Reviewed | None:
        keys = self._keys.current()
        if keys is None:
            return None
        by, refused = self._refused.get(digest, (None, None))
        if by is keys and refused is not None and refused.until > self._monotonic():
            return refused
        try:
            verified = keys.verify(token, self._audience)
        except UndecidedError:
            self._keys.look_again()
            return None
        now = self._monotonic()
        if isinstance(verified, str):
            if verified is OTHER_ISSUER:
                self._keys.look_again()  # Perhaps the cluster has just taken up that issuer.
            refused = Reviewed(None, now + NO_SECONDS, verified)
            _keep(self._refused, digest, (keys, refused), self._capacity)
            return refused
        left = min(verified.expires - self._wall(), BELIEVED_SECONDS)
        believed = Reviewed(verified.identity, now + left)
        _keep(self._believed, digest, believed, self._capacity)
        task = asyncio.create_task(self._confirm(token, digest))
        self._confirming.add(task)
        task.add_done_callback(self._confirming.discard)
        return believed

    async def _confirm(self, token: bytes, digest: bytes) -> None:
        """Ask the cluster about a token that is believed already."""
        try:
            reviewed = await self._reviews.review(token)
        except ReviewUnavailableError as error:
            logger.info("A token is believed on its signature alone: %s", error)
            return
        except Exception:
            logger.exception("A token review failed")
            return
        self._believed.pop(digest, None)
        if reviewed.identity is None:
            logger.warning("A token with a valid signature was refused by the cluster: revoked")
            _keep(self._revoked, digest, None, self._capacity)


def _keep[V](kept: dict[bytes, V], digest: bytes, value: V, capacity: int) -> None:
    """Keep the newest `capacity` entries."""
    kept.pop(digest, None)
    while len(kept) >= capacity:
        del kept[next(iter(kept))]
    kept[digest] = value
