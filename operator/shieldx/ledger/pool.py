"""A few connections that only read, opened when first used, behind a breaker."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import asyncpg

from shieldx.breaker import Breaker
from shieldx.ledger.postgres import (
    COMMAND_SECONDS,
    CONNECT_SECONDS,
    SETTINGS,
    SILENCE,
    ShardUnavailableError,
)

CONNECTIONS: Final = 4
# Classes of errors with which the server says that it cannot work now, not that a query is wrong.
AILING: Final = ("08", "53", "57", "58")


class Pool:
    """Runs queries; ShardUnavailableError where no answer came, or none came lately."""

    def __init__(self, dsn: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.breaker = Breaker()
        self._dsn = dsn
        self._monotonic = monotonic
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        if not self.breaker.allows(self._monotonic()):
            raise ShardUnavailableError("Postgres gave no answer lately")
        try:
            rows = await self._fetch(query, arguments)
        except (*SILENCE, asyncpg.PostgresError) as problem:
            if _answered(problem):
                self.breaker.succeeded()
            else:
                self.breaker.failed(self._monotonic())
            raise ShardUnavailableError(f"no answer from Postgres: {problem!r}") from problem
        self.breaker.succeeded()
        return rows

    async def _fetch(self, query: str, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
        pool = await self._connected()
        async with pool.acquire(timeout=COMMAND_SECONDS) as connection:
            if self.breaker.is_open:
                # It has opened while this one waited for a connection.
                raise ShardUnavailableError("Postgres gave no answer lately")
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    async def _connected(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=CONNECTIONS,
                    timeout=CONNECT_SECONDS,
                    command_timeout=COMMAND_SECONDS,
                    server_settings={**SETTINGS, "default_transaction_read_only": "on"},
                )
            return self._pool


def _answered(problem: Exception) -> bool:
    """Whether Postgres has said this itself, and not that it cannot work now."""
    if not isinstance(problem, asyncpg.PostgresError):
        return False
    return not str(problem.sqlstate or "").startswith(AILING)
