"""Balances remembered in Redis for a second, for those who only look; no debit ever asks here.

A value carries its account's version. It is set only if it is not older than what is there, and a
process takes none that is older than what it has itself told or acknowledged: on one process an
account never goes back. What another process has acknowledged may be missing for as long as a
value lives. When Redis is away, Postgres is asked, many accounts in one query as ever.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from shieldx.ledger.records import Answer, Code
from shieldx.sidecar.redis import RedisAwayError, SharedMemory

logger = logging.getLogger(__name__)

LIFE_SECONDS: Final = 1.0
# A value is on its way for so long at most, or is not kept.
WAY_SECONDS: Final = 1.0
# Longer than anything older can still be there: what was told may be forgotten after that.
MEMORY_SECONDS: Final = 5.0
CAPACITY: Final = 50_000
MOST_KEYS: Final = 1000

type Balance = dict[str, Any]
type Fetch = Callable[[list[str]], Awaitable[Mapping[str, Balance]]]

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class _Kept(NamedTuple):
    """A value on its way to Redis; without a text it says only that older ones are outdated."""

    version: int
    as_of: int
    text: bytes
    since: float


class BalanceCache:
    """Answers like `fetch`, from Redis where that is known to be no step back."""

    def __init__(
        self,
        fetch: Fetch,
        memory: SharedMemory,
        shard: str,
        *,
        capacity: int = CAPACITY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hits = 0
        self.misses = 0
        self._fetch = fetch
        self._memory = memory
        self._prefix = f"shieldx:{{{shard}}}:balance:"
        self._capacity = capacity
        self._monotonic = monotonic
        self._told: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._forgot_at = -MEMORY_SECONDS
        self._leaving: dict[str, _Kept] = {}
        self._task: asyncio.Task[None] | None = None

    async def balances(self, ids: list[str]) -> Mapping[str, Balance]:
        """Return the balances of those accounts that exist."""
        cached = await self._look_up(ids)
        missing = [account for account in ids if account not in cached]
        self.hits += len(cached)
        self.misses += len(missing)
        if not missing:
            return cached
        since = self._monotonic()
        found = await self._fetch(missing)
        for account, balance in found.items():
            self._tell(account, balance["version"])
            kept = _Kept(balance["version"], balance["as_of"], _encode(balance), since)
            self._leave(account, kept)
        return {**cached, **found}

    def acknowledged(self, answers: Iterable[Answer]) -> None:
        """Learn from what this process is about to tell of its writes."""
        since = self._monotonic()
        for answer in answers:
            if answer.code is not Code.CREATED or answer.replayed:
                continue
            at = answer.body.get("at", 0)
            for account, figures in answer.body.get("balances", {}).items():
                text = _encode({"account": account, **figures, "as_of": at}) if at else b""
                self._tell(account, figures["version"])
                self._leave(account, _Kept(figures["version"], at, text, since))

    async def close(self) -> None:
        """Let go of what is on its way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_up(self, ids: Sequence[str]) -> dict[str, Balance]:
        if self._monotonic() < self._forgot_at + MEMORY_SECONDS:
            return {}
        try:
            texts = await self._memory.run("read_balances", self._keys(ids), [])
        except RedisAwayError:
            return {}
        found = {}
        for account, text in zip(ids, texts, strict=True):
            version, balance = _parse(text)
            # Asked only now: meanwhile this process may have acknowledged a write.
            if balance is not None and version >= self._told.get(account, (0, 0.0))[0]:
                self._tell(account, version)
                found[account] = balance
        return found

    def _keys(self, accounts: Iterable[str]) -> list[str]:
        return [self._prefix + account for account in accounts]

    def _tell(self, account: str, version: int) -> None:
        """Remember the newest version that anybody has been told of."""
        now = self._monotonic()
        self._told[account] = max(version, self._told.get(account, (0, 0.0))[0]), now
        self._told.move_to_end(account)
        if len(self._told) > self._capacity:
            _, (_, at) = self._told.popitem(last=False)
            if at > now - MEMORY_SECONDS:
                # Something older may be in Redis still: nothing is believed until it is gone.
                self._forgot_at = now

    def _leave(self, account: str, kept: _Kept) -> None:
        known = self._leaving.get(account)
        if known is None and len(self._leaving) >= self._capacity:
            return
        if known is None or known[:2] <= kept[:2]:
            self._leaving[account] = kept
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._leaving:
                taken = [self._leaving.popitem() for _ in range(min(MOST_KEYS, len(self._leaving)))]
                oldest = self._monotonic() - WAY_SECONDS
                fresh = [(account, kept) for account, kept in taken if kept.since > oldest]
                if fresh:
                    await self._keep(fresh)
        except Exception:
            logger.exception("Balances could not be remembered")
        finally:
            self._task = None

    async def _keep(self, fresh: Sequence[tuple[str, _Kept]]) -> None:
        arguments: list[bytes | str] = [str(int(LIFE_SECONDS * 1000))]
        for _, kept in fresh:
            arguments += (str(kept.version), str(kept.as_of), kept.text)
        try:
            keys = self._keys(account for account, _ in fresh)
            await self._memory.run("keep_balances", keys, arguments)
        except RedisAwayError:
            logger.debug("Redis is away: %d balances are not remembered", len(fresh))


def _parse(text: bytes | None) -> tuple[int, Balance | None]:
    if text is None:
        return 0, None
    version, _, body = text.split(b" ", 2)
    return int(version), _decode(body) if body else None
