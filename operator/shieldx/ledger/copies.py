"""Read rows as Postgres's binary COPY sends them, whole rows one behind the other.

What is read so is mostly compared as bytes and never taken apart, which costs a tenth of a row
object each. All readers of one `Snapshot` see the same moment, in whatever process they are.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from shieldx.ledger.postgres import connect

AHEAD: Final = 2
WEEK_SECONDS: Final = 7 * 86400.0
HEADER: Final = 19
# What comes behind the last row is shorter than any row.
TRAILER: Final = 2
# Whoever reads for minutes may leave a session without a word, or its socket unread, for as long.
PATIENT: Final = (
    "set idle_in_transaction_session_timeout = 0; set tcp_user_timeout = 0; set jit = off; "
    "set max_parallel_workers_per_gather = 0"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of one database, for as long as the session lives that exported it."""

    dsn: str
    name: str


@asynccontextmanager
async def exported(dsn: str) -> AsyncIterator[tuple[Snapshot, asyncpg.Connection]]:
    """Open a session, and let others see what it sees."""
    connection = await connect(dsn, command_seconds=WEEK_SECONDS)
    try:
        await connection.execute(PATIENT)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield (
                Snapshot(dsn, await connection.fetchval("select pg_export_snapshot()")),
                connection,
            )
    finally:
        await connection.close()


class Copy:
    """The rows of one query, in chunks; reads a little ahead."""

    def __init__(self, connection: asyncpg.Connection, query: str) -> None:
        self._connection = connection
        self._query = query
        self._chunks: asyncio.Queue[bytes | Exception] = asyncio.Queue(AHEAD)
        self._begun = False

    async def chunk(self) -> bytes:
        """Return the next whole rows; empty after the last. The trailer may come with the last."""
        chunk = await self._chunks.get()
        if isinstance(chunk, Exception):
            raise chunk
        if not self._begun:
            self._begun = True
            return chunk[HEADER:] or await self.chunk()
        return chunk

    async def fill(self) -> bool:
        """Read until the end, and say whether it was reached; if not, `chunk` says why."""
        try:
            await self._connection.copy_from_query(
                self._query, output=self._chunks.put, format="binary"
            )
            await self._chunks.put(b"")
        except Exception as problem:  # noqa: BLE001 - raised where the rows are waited for.
            await self._chunks.put(problem)
            return False
        return True


@asynccontextmanager
async def copying(snapshot: Snapshot, query: str) -> AsyncIterator[Copy]:
    """Read a query's rows on a connection of its own."""
    connection = await connect(snapshot.dsn, command_seconds=WEEK_SECONDS)
    try:
        await connection.execute(PATIENT)
        await connection.execute("begin isolation level repeatable read read only")
        await connection.execute(f"set transaction snapshot '{snapshot.name}'")
        copy = Copy(connection, query)
        reading = asyncio.create_task(copy.fill())
        try:
            yield copy
        finally:
            await asyncio.sleep(0)
            reading.cancel()  # Nobody wants the rest.
            (ended,) = await asyncio.gather(reading, return_exceptions=True)
        if ended is True:
            await connection.close()
    finally:
        connection.terminate()
