"""Engines on one database, in one event loop: processes that can be watched and harmed.

Each has its own memory and its own way to Postgres, which can be cut. Time stands still until it
is told to pass.
"""

import asyncio
import itertools
import json
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from shieldx.ledger import schema
from shieldx.ledger.batcher import Batcher
from shieldx.ledger.jobs import Job
from shieldx.ledger.model import MICROSECONDS, Answer, Request
from shieldx.ledger.reads import Reads
from shieldx.ledger.verify import verify
from tests.support.proxy import Proxy, proxied

TEMPLATE: Final = "engines"
BEGINNING: Final = 1_700_000_000 * MICROSECONDS
# The database's clock stands where this row says.
CLOCK: Final = f"""
create table test_clock (at bigint not null);
insert into test_clock values ({BEGINNING});
create or replace function clock_microseconds() returns bigint
language sql volatile return (select at from test_clock);
"""  # noqa: S608 - a number.
TABLES: Final = {
    "accounts": "id",
    "grants": "id",
    "holds": "id",
    "transfers": "seq",
}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Told:
    """What one submission was told, and when: moments are counted, not measured."""

    request: Request
    answers: Sequence[Answer]
    asked: int
    answered: int


@dataclass
class Engine:
    """A process: its batcher, its way to Postgres, and how far its clock is ahead, in seconds."""

    batcher: Batcher
    proxy: Proxy
    ahead: float = 0.0


class Engines:
    """The processes, the clock, and what stands in the database."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._stack = AsyncExitStack()
        self._moments = itertools.count(1)
        self.now = BEGINNING
        self.engines: list[Engine] = []

    @staticmethod
    async def prepare(server: str) -> None:
        """Make the database that all others are copies of."""
        admin = await asyncpg.connect(server)
        await admin.execute(f"drop database if exists {TEMPLATE} with (force)")
        await admin.execute(f"create database {TEMPLATE}")
        await admin.close()
        connection = await asyncpg.connect(_named(server, TEMPLATE))
        await schema.migrate(connection, "s0")
        await connection.execute(CLOCK)
        await connection.close()

    async def start(self, number: int) -> Self:
        """Make a database, and start so many processes on it."""
        self._name = f"engines_{next(_numbers)}"
        admin = await asyncpg.connect(self._server)
        await admin.execute(f"create database {self._name} template {TEMPLATE}")
        await admin.close()
        self.dsn = _named(self._server, self._name)
        self._admin = await asyncpg.connect(self.dsn)
        self.reads = Reads(self.dsn, "s0")
        for _ in range(number):
            folder = self._stack.enter_context(tempfile.TemporaryDirectory())
            dsn, proxy = await self._stack.enter_async_context(proxied(self.dsn, Path(folder)))
            engine = Engine(Batcher(dsn, "s0"), proxy)
            engine.batcher = await self._batcher(engine)
            self.engines.append(engine)
        return self

    async def _batcher(self, engine: Engine) -> Batcher:
        dsn = engine.batcher._dsn
        batcher = Batcher(dsn, "s0", monotonic=lambda: self.now / MICROSECONDS + engine.ahead)
        await batcher.start()
        return batcher

    async def stop(self) -> str | None:
        """End everything; return what `verify` has found."""
        for engine in self.engines:
            await engine.batcher.close()
        await self.reads.close()
        await self._admin.close()
        problem = (await verify(self.dsn)).problem
        await self._stack.aclose()
        admin = await asyncpg.connect(self._server)
        await admin.execute(f"drop database {self._name} with (force)")
        await admin.close()
        return problem

    async def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * MICROSECONDS)
        await self._admin.execute("update test_clock set at = $1", self.now)

    async def restart(self, number: int) -> None:
        """End a process as SIGKILL does, and start another in its place."""
        engine = self.engines[number]
        assert engine.batcher._task is not None
        engine.batcher._task.cancel()
        await asyncio.wait([engine.batcher._task])
        if engine.batcher._shard is not None:
            engine.batcher._shard.abandon()
        engine.batcher = await self._batcher(engine)

    async def submit(self, number: int, request: Request, *, dry: bool = False) -> Told:
        """Ask one process, and wait for its answers."""
        said: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        asked = next(self._moments)
        self.engines[number].batcher.submit(
            Job(
                request.caller,
                request.operations,
                request.keys,
                request.atomic,
                done=said.set_result,
                dry=dry,
            )
        )
        answers = await said
        return Told(request, answers, asked, next(self._moments))

    async def balances(self, name: str) -> tuple[int, dict[str, tuple[int, int, int]]]:
        """Read a balance; say at which moment that was asked for."""
        asked = next(self._moments)
        found = await self.reads.balances([name])
        return asked, {
            name: (shown["balance"], shown["held"], shown["available"])
            for name, shown in found.items()
        }

    async def entries(self, after: int) -> list[dict[str, Any]]:
        rows = await self._admin.fetch(
            "select * from entries where position > $1 order by position", after
        )
        return [dict(row) for row in rows]

    async def table(self, name: str) -> dict[Any, dict[str, Any]]:
        """Return a table's rows by id."""
        rows = await self._admin.fetch(
            f"select to_jsonb(t) as row from {name} as t"  # noqa: S608 - one of four names.
        )
        return {row[TABLES[name]]: row for row in (json.loads(found["row"]) for found in rows)}


def _named(server: str, database: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{database}"))
