"""What goes wrong with the ledger as it is deployed: each fault leaves it whole again."""

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tests.chaos.campaigns import Verdict
from tests.chaos.deployment import Deployment, deployment
from tests.chaos.judge import judge
from tests.chaos.world import Server

type Fault = Callable[[Deployment, random.Random], Awaitable[None]]

LONG_STOP_SECONDS: Final = 30.0


async def writer_killed(here: Deployment, _: random.Random) -> None:
    """SIGKILL of the writer; its place is filled again when another one writes."""
    place = await here.writer()
    with here.harm(place):
        await here.world.apis[place.port].kill()
        await here.writer(than=place)
        await here.open(place)


async def writer_lost(here: Deployment, _: random.Random) -> None:
    """The writer dies with its machine: nobody tells Postgres or the relays."""
    place = await here.writer()
    with here.harm(place):
        place.way.through.clear()
        place.door.through.clear()
        await here.world.apis[place.port].kill()
        await here.writer(than=place)
        place.way.through.set()
        place.door.through.set()
        await here.open(place)


async def writer_stopped(here: Deployment, rng: random.Random) -> None:
    """SIGSTOP of the writer, for a moment or until another one has taken its place."""
    place = await here.writer()
    with here.harm(place):
        place.signal(signal.SIGSTOP)
        if rng.random() < 0.3:
            await asyncio.sleep(rng.uniform(0.2, 3.0))
        else:
            await here.writer(than=place)
        place.signal(signal.SIGCONT)


async def writer_stopped_long(here: Deployment, _: random.Random) -> None:
    """SIGSTOP of the writer for half a minute: when it goes on, the world has moved."""
    place = await here.writer()
    with here.harm(place):
        place.signal(signal.SIGSTOP)
        await asyncio.sleep(LONG_STOP_SECONDS)
        place.signal(signal.SIGCONT)


async def relay_killed(here: Deployment, rng: random.Random) -> None:
    """SIGKILL of a relay."""
    place = rng.choice(await here.relays())
    with here.harm(place):
        await here.world.apis[place.port].kill()
        await asyncio.sleep(rng.uniform(0.0, 0.5))
        await here.open(place)


async def relay_stopped(here: Deployment, rng: random.Random) -> None:
    """SIGSTOP of a relay for a while."""
    place = rng.choice(await here.relays())
    with here.harm(place):
        place.signal(signal.SIGSTOP)
        await asyncio.sleep(rng.uniform(0.5, 3.0))
        place.signal(signal.SIGCONT)


async def writer_cut_off(here: Deployment, rng: random.Random) -> None:
    """Nothing gets from the writer to Postgres, or every connection between them breaks."""
    place = await here.writer()
    with here.harm(place):
        if rng.random() < 0.5:
            place.way.through.clear()
            await here.writer(than=place)
            place.way.through.set()
        else:
            place.way.shut()
            await asyncio.sleep(rng.uniform(0.1, 1.5))
            place.way.open()


async def relays_cut_off(here: Deployment, rng: random.Random) -> None:
    """Nothing gets from the relays to the writer, or every connection between them breaks."""
    place = await here.writer()
    with here.harm():
        if rng.random() < 0.5:
            place.door.through.clear()
            await asyncio.sleep(rng.uniform(0.5, 3.0))
            place.door.through.set()
        else:
            place.door.shut()
            await asyncio.sleep(rng.uniform(0.1, 1.5))
            place.door.open()


async def keeper_killed(here: Deployment, rng: random.Random) -> None:
    """SIGKILL of the keeper, while grants expire all the time."""
    with here.harm():
        if here.keeper is not None:
            await here.keeper.kill()
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        await here.keep()


async def postgres_killed(here: Deployment, _: random.Random) -> None:
    """SIGKILL of the postmaster and all backends."""
    with here.harm(*here.places):
        await here.world.server.kill()
        await here.world.server.start()
        await here.world.answers(20)


async def postgres_restarted(here: Deployment, _: random.Random) -> None:
    """An administrator restarts Postgres."""
    with here.harm(*here.places):
        await here.world.server.start()
        await here.world.answers(20)


EACH: Final[Mapping[str, tuple[Fault, ...]]] = {
    "writer killed": (writer_killed, writer_lost),
    "writer stopped": (writer_stopped,),
    "writer stopped for 30 s": (writer_stopped_long,),
    "relay killed or stopped": (relay_killed, relay_stopped),
    "writer and Postgres cut apart": (writer_cut_off,),
    "relays and writer cut apart": (relays_cut_off,),
    "Postgres killed or restarted": (postgres_killed, postgres_restarted),
}
SHORT: Final[tuple[Fault, ...]] = (
    writer_killed,
    relays_cut_off,
    writer_stopped,
    relay_killed,
    keeper_killed,
    relay_stopped,
    writer_cut_off,
    postgres_killed,
)
MIXED: Final[tuple[Fault, ...]] = (*SHORT, writer_lost, postgres_restarted)


async def deployed(
    server: Server, seed: int, seconds: float, what: str, faults: tuple[Fault, ...]
) -> Verdict:
    """Let these faults take turns, each at least once, while customers write at every process."""
    rng = random.Random(seed)
    async with deployment(server, seed) as here:
        world = here.world
        await world.start_load(lots=True)
        await world.answers(30)
        until = time.monotonic() + seconds
        for number, fault in enumerate(itertools.cycle(faults)):
            if number >= len(faults) and time.monotonic() > until:
                break
            await asyncio.sleep(rng.uniform(0.2, 1.0))
            await fault(here, rng)
            await world.answers(20)
        judgement = await judge(world, holds_expire=True)
        judgement.problems += here.unexcused(world.journal().troubles)
        return Verdict(f"deployed: {what}", len(world.faults), judgement)
