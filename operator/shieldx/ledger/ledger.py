"""One shard of a ledger as a program uses it: migrate, write through `submit`, read."""

import secrets
from typing import Final, Self

import asyncpg

from shieldx.ledger.batcher import Batcher
from shieldx.ledger.deliveries import Deliveries
from shieldx.ledger.history import History
from shieldx.ledger.jobs import Job
from shieldx.ledger.leadership import Leadership
from shieldx.ledger.postgres import (
    APPLICATION,
    AWAY,
    ShardUnavailableError,
    connect,
)
from shieldx.ledger.reads import Reads
from shieldx.ledger.schema import migrate
from shieldx.ledger.seals import KeyRing
from shieldx.ledger.writer import Peers, Writer

# A new index on a large table takes long; a lock that it waits for does not.
MIGRATION_SECONDS: Final = 3600


class Ledger:
    """Writes go to `submit`, reads to `reads`; neither needs the database to start.

    With `peers`, one process decides for all of them; without, this one decides for itself.
    """

    def __init__(
        self, dsn: str, shard: str, peers: Peers | None = None, ring: KeyRing | None = None
    ) -> None:
        application = f"{APPLICATION} {secrets.token_hex(4)}"
        self._dsn = dsn
        self._shard = shard
        seal = ring.seal if ring else None
        self.batcher = Batcher(dsn, shard, application=application, seal=seal)
        self.reads = Reads(dsn, shard)
        self.history = History(self.reads, shard)
        self.deliveries = Deliveries(dsn)
        self.writer: Writer | None = None
        if peers is not None:
            leadership = Leadership(dsn, application, peers.address)
            self.writer = Writer(self.batcher, leadership, peers.way)

    @classmethod
    def open(
        cls, dsn: str, shard: str, peers: Peers | None = None, ring: KeyRing | None = None
    ) -> Self:
        """Return a ledger that has done nothing yet; with a `ring` it gives receipts."""
        return cls(dsn, shard, peers, ring)

    def seal_with(self, ring: KeyRing) -> None:
        """Give receipts with these keys from now on."""
        self.batcher.seal_with(ring.seal)

    async def migrate(self) -> int:
        """Bring the database to this program's schema; return its version.

        ShardUnavailableError while there is no database, or somebody else holds what must be
        changed; SchemaError if the two do not fit.
        """
        connection = await connect(self._dsn, command_seconds=MIGRATION_SECONDS)
        try:
            return await migrate(connection, self._shard)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as held:
            raise ShardUnavailableError(
                "another process migrates, or a long query holds a table"
            ) from held
        except AWAY as lost:
            connection.terminate()
            raise ShardUnavailableError(f"the migration was cut off: {lost!r}") from lost
        finally:
            await connection.close()

    async def start(self) -> None:
        """Begin to write."""
        await self.batcher.start()
        if self.writer is not None:
            await self.writer.start()

    async def resign(self) -> None:
        """Let another process be the writer, if this one is: it is going to end."""
        if self.writer is not None:
            await self.writer.leadership.resign()

    async def close(self) -> None:
        """Answer what was accepted, then let go of the database."""
        if self.writer is not None:
            await self.writer.close()
        await self.batcher.close()
        await self.reads.close()
        await self.deliveries.close()

    def submit(self, job: Job) -> None:
        """Accept a job, to be decided by the shard's writer or here."""
        if self.writer is None:
            self.batcher.submit(job)
        else:
            self.writer.submit(job)

    @property
    def queued(self) -> int:
        """Operations that wait."""
        return self.batcher.queued + (self.writer.queued if self.writer else 0)

    @property
    def ready(self) -> bool:
        """Whether writes are possible."""
        return self.batcher.ready
