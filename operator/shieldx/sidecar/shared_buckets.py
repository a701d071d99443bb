"""Token buckets that all API processes of a ledger share, in Redis.

Whoever asks while a round trip is under way waits for the next one, which is one script for all of
them; so the more there is to ask, the less each ask costs. Without Redis everybody is told so at
once and uses buckets of its own.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from shieldx.sidecar.buckets import Ask, Claim, Waits
from shieldx.sidecar.redis import RedisAwayError, SharedMemory

logger = logging.getLogger(__name__)

MOST_CLAIMS: Final = 2000

type Answered = Callable[[Waits | None], None]

_encode = msgspec.json.encode


class SharedBuckets:
    """Asks Redis for tokens; None as an answer means that it is away."""

    def __init__(self, memory: SharedMemory, ledger: str) -> None:
        self._memory = memory
        self._prefix = f"shieldx:{{{ledger}}}:bucket:"
        self._waiting: deque[tuple[Ask, Answered]] = deque()
        self._task: asyncio.Task[None] | None = None

    def take(self, ask: Ask, answered: Answered) -> None:
        """Call `answered` with the waits of the ask's claims, or with None."""
        self._waiting.append((ask, answered))
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End; who still waits is told that Redis is away."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._waiting:
            _tell(self._waiting.popleft()[1], None)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._round(self._next())
        finally:
            self._task = None

    def _next(self) -> list[tuple[Ask, Answered]]:
        taken = [self._waiting.popleft()]
        claims = len(taken[0][0])
        while self._waiting and claims + len(self._waiting[0][0]) <= MOST_CLAIMS:
            taken.append(self._waiting.popleft())
            claims += len(taken[-1][0])
        return taken

    async def _round(self, taken: list[tuple[Ask, Answered]]) -> None:
        keys, argument = _arguments([ask for ask, _ in taken])
        waits: list[int] | None = [] if not keys else None
        try:
            if keys:
                waits = await self._memory.run(
                    "buckets", [f"{self._prefix}{key}" for key in keys], [argument]
                )
        except RedisAwayError:
            pass
        finally:
            # Also when this is cancelled: whoever waits is told something.
            at = 0
            for ask, answered in taken:
                to = at + len(ask)
                _tell(answered, None if waits is None else tuple(w / 1000 for w in waits[at:to]))
                at = to


def _tell(answered: Answered, waits: Waits | None) -> None:
    try:
        answered(waits)
    except Exception:
        logger.exception("An answer of the buckets could not be used")


def _arguments(asks: Iterable[Ask]) -> tuple[list[str], bytes]:
    """Return the buckets that are touched, each once, and what the script must know."""
    places: dict[str, int] = {}
    rates: list[tuple[float, int]] = []
    encoded: list[list[int]] = []

    def place(claim: Claim) -> int:
        if claim.bucket not in places:
            places[claim.bucket] = len(places) + 1
            rates.append((claim.rate.per_second, claim.rate.burst))
        return places[claim.bucket]

    for ask in asks:
        line: list[int] = []
        for claim in ask:
            line += (place(claim), claim.cost)
        encoded.append(line)
    return list(places), _encode({"rates": rates, "asks": encoded})
