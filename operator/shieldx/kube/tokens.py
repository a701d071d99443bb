"""Whose token is this? Answers of the cluster's TokenReview, remembered for a while.

Asking costs a round trip to the API server, so an answer is kept: a yes until the token expires
but at most a minute, a no for five seconds, both bounded in number and apart from each other, so
that a flood of bad tokens cannot push out the good ones. Concurrent questions about one token are
one question. Tokens are never kept, only their SHA-256.

    ReviewUnavailableError   the cluster gave no answer: nobody may be let in on that
"""

import asyncio
import base64
import binascii
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from shieldx.kube.cluster import Identity

AUDIENCE: Final = "shieldx"
YES_SECONDS: Final = 60.0
NO_SECONDS: Final = 5.0
REVIEW_SECONDS: Final = 5.0
CAPACITY: Final = 4096
FLIGHTS: Final = 256


class ReviewUnavailableError(Exception):
    """The cluster gave no answer about a token."""


class TokenReviewer(Protocol):
    """Who can tell whose token it is, or that it is nobody's."""

    async def review_token(self, token: str, audience: str) -> Identity | None: ...


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A remembered answer: whose token it was, and until when to believe it.

    None: not valid; `reason` says why in words for whoever sent it, where that is known.
    """

    identity: Identity | None
    until: float
    reason: str = ""


class TokenCache:
    """The reviewer's answers, remembered; see the module's docstring for how long."""

    def __init__(
        self,
        reviewer: TokenReviewer,
        *,
        audience: str = AUDIENCE,
        capacity: int = CAPACITY,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._reviewer = reviewer
        self._audience = audience
        self._capacity = capacity
        self._monotonic = monotonic
        self._wall = wall
        self._yes: dict[bytes, Reviewed] = {}
        self._no: dict[bytes, Reviewed] = {}
        self._flights: dict[bytes, asyncio.Task[Reviewed]] = {}

    def known(self, token: bytes, digest: bytes | None = None) -> Reviewed | None:
        """Return the remembered answer about this token, if there is a fresh one.

        `digest` is its SHA-256, for whoever has it already.
        """
        if digest is None:
            digest = hashlib.sha256(token).digest()
        reviewed = self._yes.get(digest) or self._no.get(digest)
        if reviewed is None or reviewed.until <= self._monotonic():
            return None
        return reviewed

    async def review(self, token: bytes) -> Reviewed:
        """Return the remembered answer, or ask; ReviewUnavailableError when nobody answers."""
        reviewed = self.known(token)
        if reviewed is not None:
            return reviewed
        digest = hashlib.sha256(token).digest()
        flight = self._flights.get(digest)
        if flight is None:
            if len(self._flights) >= FLIGHTS:
                raise ReviewUnavailableError("too many tokens are being reviewed at once")
            flight = asyncio.create_task(self._ask(token, digest))
            self._flights[digest] = flight
            flight.add_done_callback(lambda _: self._flights.pop(digest, None))
        return await asyncio.shield(flight)

    async def _ask(self, token: bytes, digest: bytes) -> Reviewed:
        try:
            text = token.decode("ascii")
        except UnicodeDecodeError:
            return self._remember(self._no, digest, None, NO_SECONDS)
        try:
            async with asyncio.timeout(REVIEW_SECONDS):
                identity = await self._reviewer.review_token(text, self._audience)
        except TimeoutError as silence:
            raise ReviewUnavailableError("no answer to the token review in time") from silence
        if identity is None:
            return self._remember(self._no, digest, None, NO_SECONDS)
        left = (expiry(text) or float("inf")) - self._wall()
        return self._remember(self._yes, digest, identity, min(left, YES_SECONDS))

    def _remember(
        self,
        answers: dict[bytes, Reviewed],
        digest: bytes,
        identity: Identity | None,
        seconds: float,
    ) -> Reviewed:
        reviewed = Reviewed(identity, self._monotonic() + seconds)
        self._yes.pop(digest, None)
        self._no.pop(digest, None)
        while len(answers) >= self._capacity:
            del answers[next(iter(answers))]
        answers[digest] = reviewed
        return reviewed


def expiry(token: str) -> float | None:
    """Read the expiry (seconds since 1970) that a JWT claims; the cluster has verified it."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 — header, claims, signature
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    found = claims.get("exp") if isinstance(claims, dict) else None
    return float(found) if isinstance(found, int) else None
