"""The ledger as it is deployed: three API processes, one the writer, two relays, and a keeper.

Each process has a way of its own to Postgres, and a door of its own through which the others hand
it their writes; either can be shut or held.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from tests.chaos.journal import Trouble
from tests.chaos.programs import ACCOUNT, SERVING, Inner
from tests.chaos.world import ChaosError, Program, Scene, Server, scene
from tests.support.ports import free_port
from tests.support.proxy import Proxy, doored, proxied

PLACES: Final = 3
SUCCESSION_SECONDS: Final = 30.0
# A client waits ten seconds for an answer, and may find out only then.
AFTERMATH: Final = 15_000_000_000


@dataclass(eq=False)
class Place:
    """Where one API process runs, one after the other."""

    port: int
    dsn: str
    inner: Inner
    way: Proxy  # from here to Postgres
    door: Proxy  # from the others to here
    program: Program | None = None

    def signal(self, number: signal.Signals) -> None:
        if self.program is None or self.program.process.pid is None:
            raise ChaosError(f"nothing runs on port {self.port}")
        os.kill(self.program.process.pid, number)


@dataclass(slots=True)
class Harm:
    """Whose own clients may notice, and from when to when."""

    ports: frozenset[int]
    began: int
    ended: int = 1 << 63

    def excuses(self, trouble: Trouble) -> bool:
        return trouble.port in self.ports and (
            self.began <= trouble.at <= min(self.ended + AFTERMATH, 1 << 63)
        )


@dataclass
class Deployment:
    """Three places, the keeper, and what has been done to whom."""

    world: Scene
    places: list[Place]
    harms: list[Harm] = field(default_factory=list)
    keeper: Program | None = None

    async def open(self, place: Place) -> None:
        """Let a process run there, and wait until it serves."""
        program = self.world.program("api", place.dsn, place.port, place.inner)
        place.program = self.world.apis[place.port] = program
        await program.begin(SERVING)

    async def keep(self) -> None:
        """Let a keeper work, that hands what it writes to the writer as well."""
        token = self.world.folder / "token"
        self.keeper = await self.world.program("keeper", self.world.dsn, token).begin()

    async def writer(self, than: Place | None = None) -> Place:
        """Return who holds the lock as the database tells; wait for another `than` this one."""
        until = time.monotonic() + SUCCESSION_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                connection = await asyncpg.connect(self.world.dsn)
                address = await connection.fetchval("select address from current_writer()")
                await connection.close()
                found = [place for place in self.places if place.inner.address == address]
                if found and found[0] is not than:
                    return found[0]
            await asyncio.sleep(0.05)
        raise ChaosError(f"nobody took the lock within {SUCCESSION_SECONDS} s")

    async def relays(self) -> list[Place]:
        """Return the places that are not the writer's."""
        writer = await self.writer()
        return [place for place in self.places if place is not writer]

    @contextlib.contextmanager
    def harm(self, *places: Place) -> Iterator[None]:
        """Note that a fault happens now, of which the clients of these places may be told."""
        self.world.fault()
        harm = Harm(frozenset(place.port for place in places), time.monotonic_ns())
        self.harms.append(harm)
        yield
        harm.ended = time.monotonic_ns()

    def unexcused(self, troubles: Sequence[Trouble]) -> list[str]:
        """Name what clients were told although nothing was done to their process."""
        return [
            f"a client on port {trouble.port} was told {trouble.what} by a process left in peace"
            for trouble in troubles
            if not any(harm.excuses(trouble) for harm in self.harms)
        ]


@contextlib.asynccontextmanager
async def deployment(server: Server, seed: int) -> AsyncIterator[Deployment]:
    """Make a database and three places, with a process in each, and a keeper."""
    async with scene(server, apis=PLACES, seed=seed) as world, contextlib.AsyncExitStack() as stack:
        token = world.folder / "token"
        token.write_text(ACCOUNT)
        places: list[Place] = []
        for port in world.ports:
            inside = free_port()
            folder = world.folder / f"way-{port}"
            folder.mkdir()
            dsn, way = await stack.enter_async_context(proxied(world.dsn, folder))
            outside, door = await stack.enter_async_context(doored(inside))
            inner = Inner(inside, f"127.0.0.1:{outside}", token)
            places.append(Place(port, dsn, inner, way, door))
        made = Deployment(world, places)
        for place in places:
            await made.open(place)
        await made.keep()
        await made.writer()
        yield made
        await world.close()
