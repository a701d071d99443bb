"""How far webhooks have accepted the chain, kept beside it."""

import asyncio

import asyncpg

from shieldx.ledger.postgres import SILENCE, ShardUnavailableError, connect
from shieldx.ledger.reads import QUERIES


class Deliveries:
    """One connection of its own, opened when first used and again when it is lost."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def accepted(self, url: str) -> int:
        """Return the position up to which a webhook has accepted everything; 0 for a new one."""
        return await self._ask("accepted", url) or 0

    async def note(self, url: str, position: int) -> None:
        """Make durable that a webhook has accepted everything up to a position."""
        await self._ask("note_accepted", url, position)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _ask(self, query: str, *arguments: object) -> int | None:
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._dsn)
            try:
                found: int | None = await self._connection.fetchval(QUERIES[query], *arguments)
            except (*SILENCE, asyncpg.PostgresError) as lost:
                self._connection.terminate()
                self._connection = None
                raise ShardUnavailableError(f"no answer from Postgres: {lost!r}") from lost
            return found
