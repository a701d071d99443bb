"""One shard of a ledger as a program uses it: migrate, write through a batcher, read."""

from typing import Self

from shieldx.ledger.batcher import Batcher
from shieldx.ledger.history import History
from shieldx.ledger.postgres import connect
from shieldx.ledger.reads import Reads
from shieldx.ledger.schema import migrate


class Ledger:
    """Writes go through `batcher`, reads through `reads`; neither needs the database to start."""

    def __init__(self, dsn: str, shard: str) -> None:
        self._dsn = dsn
        self._shard = shard
        self.batcher = Batcher(dsn, shard)
        self.reads = Reads(dsn, shard)
        self.history = History(self.reads, shard)

    @classmethod
    def open(cls, dsn: str, shard: str) -> Self:
        """Return a ledger that has done nothing yet."""
        return cls(dsn, shard)

    async def migrate(self) -> int:
        """Bring the database to this program's schema; return its version.

        ShardUnavailableError while there is no database, SchemaError if the two do not fit.
        """
        connection = await connect(self._dsn)
        try:
            return await migrate(connection, self._shard)
        finally:
            await connection.close()

    async def start(self) -> None:
        """Begin to write."""
        await self.batcher.start()

    async def close(self) -> None:
        """Answer what was accepted, then let go of the database."""
        await self.batcher.close()
        await self.reads.close()

    @property
    def ready(self) -> bool:
        """Whether writes are possible."""
        return self.batcher.ready
