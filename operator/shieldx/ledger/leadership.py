"""Who writes for the shard: the process whose session holds a lock that dies with the session.

A connection of its own, for nothing else: it takes the lock when it is free, says so beside the
head, and looks a few times a second who has it. Whether a look was answered lately is what makes
a writer: one that was stopped, or is cut off, does not believe in itself for longer than that.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import asyncpg

from shieldx.ledger.postgres import SILENCE, ShardUnavailableError, connect
from shieldx.ledger.routing import Holder

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.2
ANSWER_SECONDS: Final = 1.5
# It commits a row, and a disk that is busy must not keep the shard without a writer.
TAKING_SECONDS: Final = 10.0
FRESH_SECONDS: Final = 2.0
# Two looks: who has not been answered for longer may be cut off already.
SURE_SECONDS: Final = 2 * LOOK_SECONDS

LOST: Final = (*SILENCE, asyncpg.PostgresError, ShardUnavailableError)


class Leadership:
    """Stands for the shard's lock if there is an `address`, else only looks who has it."""

    def __init__(
        self,
        dsn: str,
        application: str,
        address: str | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        # The other process that writes; None while this one does, or none.
        self.holder: Holder | None = None
        self.takeovers = 0
        self._dsn = dsn
        self._application = application
        self._monotonic = monotonic
        self._stands = address is not None
        self._mine: int | None = None
        self._looked_at = 0.0
        self._to_end: int | None = None
        self._connection: asyncpg.Connection | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def mine(self) -> bool:
        """Whether this process held the lock when it last looked, a moment ago."""
        return self._held_within(FRESH_SECONDS)

    @property
    def sure(self) -> bool:
        """Whether it held the lock just now: who calls it back after a silence must know."""
        return self._held_within(SURE_SECONDS)

    async def start(self) -> None:
        """Look once, then go on looking."""
        await self._try()
        self._task = asyncio.create_task(self._run())

    async def resign(self) -> None:
        """Free the lock, and stand for it no more."""
        self._stands = False
        self._mine = None
        self._lose()

    async def close(self) -> None:
        """Free the lock and end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._lose()

    def end(self, epoch: int) -> None:
        """With the next look, end the sessions of the writer of this epoch."""
        self._to_end = epoch

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._try()

    async def _try(self) -> None:
        try:
            await self._look()
        except LOST as problem:
            logger.debug("Who writes cannot be told: %r", problem)
        except Exception:
            logger.exception("Looking who writes failed")
        else:
            return
        # Whom we knew may still be the one: the way to it need not be ours to the database.
        self._mine = None
        self._lose()

    async def _look(self) -> None:
        if self._connection is None:
            self._connection = await connect(self._dsn, self._application)
        if self._to_end is not None:
            epoch, self._to_end = self._to_end, None
            ended = await self._ask("select end_writer($1) as ended", epoch)
            logger.warning("The silent writer of epoch %d is ended: %s", epoch, dict(ended or {}))
        row = None
        if self._mine is None and self._stands:
            row = await self._ask(
                "select * from become_writer($1, $2)",
                self.address,
                self._application,
                seconds=TAKING_SECONDS,
            )
            if row is not None:
                self._mine = row["epoch"]
                self.takeovers += 1
                logger.info("This process writes for the shard, epoch %d", row["epoch"])
        began = self._monotonic()
        row = await self._ask("select * from current_writer()")
        if self._mine is not None and (row is None or row["epoch"] != self._mine):
            logger.warning("This process writes for the shard no more")
            self._mine = None
        self._looked_at = began
        mine_or_nobody = row is None or self._mine is not None
        self.holder = None if mine_or_nobody else Holder(row["epoch"], row["address"])

    async def _ask(self, query: str, *arguments: object, seconds: float = ANSWER_SECONDS) -> Any:
        if self._connection is None:
            raise ShardUnavailableError("the connection was given up")
        return await self._connection.fetchrow(query, *arguments, timeout=seconds)

    def _held_within(self, seconds: float) -> bool:
        return self._mine is not None and self._monotonic() - self._looked_at < seconds

    def _lose(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
