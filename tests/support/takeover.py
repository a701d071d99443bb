"""Clients at three processes, and for how long none of them was answered when one fell out.

How long the machine itself stood still meanwhile is measured beside them, in the same moments: a
commit after the other in the same Postgres, by nobody but a connection. A gap counts only as far
as it exceeds what the machine can answer for.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Final, Self

import asyncpg

from shieldx.ledger.verify import verify
from tests.support.api import Client
from tests.support.load import Load
from tests.support.trio import Server, Trio

CREDITS: Final = 1_000_000
# A takeover is some five turns of processes in a row, and each may find the machine busy.
TURNS: Final = 5


class Control:
    """Commits one thing after the other that concerns no ledger, and remembers when."""

    def __init__(self, dsn: str) -> None:
        self.moments: list[float] = []
        self._dsn = dsn

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._dsn)
        self._task = asyncio.create_task(self._commit())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        self._connection.terminate()

    async def _commit(self) -> None:
        while True:
            # A record of its own in the log, durable, and nothing else.
            await self._connection.execute("select pg_logical_emit_message(true, 'control', '')")
            self.moments.append(time.monotonic())
            await asyncio.sleep(0.005)


class Loads:
    """Two clients on each process, the control beside them."""

    def __init__(self, servers: Sequence[Server], dsn: str) -> None:
        self.all = [Load(lambda port=s.port: port, "a", clients=2) for s in servers]  # type: ignore[misc]
        self.control = Control(dsn)

    @property
    def at_the_writer(self) -> Load:
        return self.all[0]

    @property
    def behind_relays(self) -> list[Load]:
        return self.all[1:]

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(self.control)
        for load in self.all:
            await self._stack.enter_async_context(load)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def more(self, count: int) -> None:
        """Wait until each client behind a relay has had so many more answers."""
        await asyncio.gather(*(one.until(len(one.answers) + count) for one in self.behind_relays))

    def gap(self, began: float) -> float:
        """Return how long, at most, the clients of some relay had no answer since then."""
        now = time.monotonic()
        return max(longest(load.moments, began, now) for load in self.behind_relays)

    def excuse(self, began: float) -> float:
        """Return how much of a gap since then the machine must answer for."""
        return TURNS * longest(self.control.moments, began, time.monotonic())

    async def settled(self, port: int) -> int:
        """Retry by key what has no answer, at a process that lives; return how many were done."""
        for load in self.all:
            load.port = lambda: port
            await load.settle()
        assert {status for load in self.all for status in load.statuses} == {201}
        return sum(len(load.answers) for load in self.all)


def longest(moments: Iterable[float], began: float, ended: float) -> float:
    """Return the longest time between two moments of an interval, its ends included."""
    inside = [began, *(moment for moment in moments if began < moment < ended), ended]
    return max(after - before for before, after in pairwise(inside))


async def another(servers: Trio, than: Server) -> Server:
    """Wait until another process is the writer."""
    async with asyncio.timeout(60):
        while (found := await servers.writer()) in {None, than}:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.05)
    assert found is not None
    return found


async def exact(dsn: str, port: int, done: int) -> None:
    """Nothing is lost, nothing doubled, and the chain is clean."""
    async with Client(port) as client:
        assert (await client.balance("a"))[0] == CREDITS - done
    report = await verify(dsn)
    assert report.problem is None
    assert report.transfers == done + 1
