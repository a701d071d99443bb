"""The one connection of a process to Redis, which may be away at any time.

Redis holds nothing that cannot be lost: without it every process has buckets of its own, and reads
go to Postgres. So an answer is waited for briefly, and after a few failures Redis is left alone for
a while. Its address stands in a mounted Secret, is read anew before every new try, and is never
said in a log.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from shieldx.breaker import Breaker, Patience, State

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 0.25
PATIENCE: Final = Patience(failures=2, rest_seconds=0.5, longest_rest_seconds=10.0)
SCHEMES: Final = ("redis://", "rediss://", "unix://")


class RedisAwayError(Exception):
    """Redis gave no answer in time, or is left alone for now."""


class SharedMemory:
    """Runs scripts in Redis, or says that it is away."""

    def __init__(self, url_file: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.breaker = Breaker(PATIENCE)
        self._url_file = url_file
        self._monotonic = monotonic
        self._client: Redis | None = None
        self._scripts: dict[str, AsyncScript] = {}
        self._opening = asyncio.Lock()

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[bytes | str]) -> Any:
        """Run `lua/{script}.lua` in one round trip; RedisAwayError if that is not to be had."""
        if not self.breaker.allows(self._monotonic()):
            raise RedisAwayError("Redis is left alone for now")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await (await self._script(script))(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError, ValueError) as problem:
            await self._failed(problem)
            raise RedisAwayError("Redis gave no answer") from problem
        if self.breaker.state is not State.CLOSED:
            logger.info("Redis answers again")
        self.breaker.succeeded()
        return found

    async def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        self._scripts.clear()
        if client is not None:
            await client.aclose()

    async def _failed(self, problem: Exception) -> None:
        before = self.breaker.state
        self.breaker.failed(self._monotonic())
        if before is State.CLOSED and self.breaker.state is State.OPEN:
            # The kind alone: a message about an address may quote it.
            logger.warning("Redis is away (%s): working without it", type(problem).__name__)
        try:
            await self.close()
        except (RedisError, OSError):
            logger.debug("The connection to Redis did not close in order")

    async def _script(self, name: str) -> AsyncScript:
        async with self._opening:
            if self._client is None:
                url = (await asyncio.to_thread(self._url_file.read_text)).strip()
                if not url.startswith(SCHEMES):
                    raise ValueError("not an address of Redis")
                self._client = Redis.from_url(
                    url,
                    socket_timeout=ANSWER_SECONDS,
                    socket_connect_timeout=ANSWER_SECONDS,
                    retry=Retry(NoBackoff(), 0),
                    client_name="shieldx-ledger",
                )
            if name not in self._scripts:
                self._scripts[name] = self._client.register_script(_text(name))
            return self._scripts[name]


def _text(name: str) -> str:
    file = resources.files("shieldx.sidecar") / "lua" / f"{name}.lua"
    return file.read_text(encoding="utf-8")
