"""What goes wrong, when: each campaign has a database, a load and a judgement of its own."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from shieldx.ledger.steps import Step
from tests.chaos.judge import Judgement, judge
from tests.chaos.programs import READY
from tests.chaos.world import ChaosError, Scene, Server, scene

WRITING: Final = (
    Step.TAKEN,
    Step.LOADED,
    Step.DECIDED,
    Step.MERGED,
    Step.STORING,
    Step.STORE_SENT,
    Step.AHEAD,
    Step.STORED,
    Step.ANSWERED,
)
EARLY: Final = (Step.MIGRATION_LOCKED, Step.MIGRATION_APPLIED, Step.MIGRATED, Step.CONNECTED)
LOCKING: Final = (Step.HEAD_LOCKED, Step.COMMITTING)
KEEPING: Final = (Step.EXPIRY_FOUND, Step.EXPIRY_ANSWERED)
# These do not touch the books; `tests/postgres/test_webhooks.py` dies at them.
TELLING: Final = (Step.EVENTS_READ, Step.EVENTS_ACCEPTED, Step.EVENTS_NOTED)
BETWEEN_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one campaign did, and how it came out."""

    what: str
    faults: int
    judgement: Judgement


async def each_step_of_writing(server: Server, seed: int) -> Verdict:
    """The API dies at every step of connecting, migrating and writing, one after the other."""
    rng = random.Random(seed)
    async with scene(server, seed=seed) as world:
        (port,) = world.ports
        await world.start_load()
        await world.asking()
        plans: dict[Step, str] = {step: step for step in EARLY}
        plans |= {step: f"{step}:{rng.randint(2, 15)}" for step in WRITING}
        await die_at_each(world, port, plans)
        await world.answers(30)
        return Verdict("API killed at each step", len(world.faults), await judge(world))


async def each_step_under_the_lock(server: Server, seed: int) -> Verdict:
    """A rival overtakes so often that the head is locked; the API dies under the lock."""
    async with scene(server, seed=seed) as world:
        (port,) = world.ports
        await world.open(port)
        await world.start_load()
        await world.answers(30)
        rival = world.program("rival", world.dsn)
        await rival.begin(READY)
        await world.apis[port].kill()
        await die_at_each(world, port, {step: step for step in LOCKING})
        await world.answers(30)
        await rival.kill()
        return Verdict("API killed under the head's lock", len(world.faults), await judge(world))


async def die_at_each(world: Scene, port: int, plans: Mapping[Step, str]) -> None:
    """Let one API process after the other kill itself at its step; a write must be in flight.

    The last one that is started has no plan, and lives.
    """
    for step, plan in plans.items():
        program = await world.open(port, crash_at=plan)
        await program.crashed(step)
        world.fault()
        await asyncio.sleep(BETWEEN_SECONDS)
        journal, moment = world.journal(), world.faults[-1]
        if not (journal.waiting(moment) if step in EARLY else journal.in_flight(moment)):
            raise ChaosError(f"{step}: no write was in flight when the process died")
    await world.open(port)


async def keeper_dies(server: Server, seed: int) -> Verdict:
    """The keeper dies at each of its steps and at random, while holds expire all the time."""
    rng = random.Random(seed)
    async with scene(server, seed=seed) as world:
        (port,) = world.ports
        await world.open(port)
        await world.start_load(hold_seconds=1)
        await world.answers(30)
        for step in KEEPING:
            program = await world.keep(crash_at=step)
            await program.crashed(step)
            world.fault()
        for _ in range(2):
            program = await world.keep()
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            world.fault()
            await program.kill()
        return Verdict("keeper killed", len(world.faults), await judge(world, holds_expire=True))


async def apis_die(server: Server, seed: int, seconds: float, apis: int) -> Verdict:
    """So many API processes on one shard; one after the other is killed, at any moment."""
    rng = random.Random(seed)
    async with scene(server, apis=apis, seed=seed) as world:
        for port in world.ports:
            await world.open(port)
        await world.start_load()
        await world.answers(30)
        until = time.monotonic() + seconds
        while time.monotonic() < until or not world.faults:
            port = rng.choice(world.ports)
            await asyncio.sleep(rng.uniform(0.2, 1.0))
            world.fault()
            await world.apis[port].kill()
            await world.open(port)
            await world.answers(20)
        plural = "processes" if apis > 1 else "process"
        return Verdict(
            f"{apis} API {plural}, killed at random", len(world.faults), await judge(world)
        )


async def postgres_dies(server: Server, seed: int, seconds: float) -> Verdict:
    """Postmaster and all backends are killed at any moment."""

    async def harm() -> None:
        await server.kill()
        await server.start()

    return await _harmed(server, seed, seconds, "Postgres and all backends killed", harm)


async def postgres_restarts(server: Server, seed: int, seconds: float) -> Verdict:
    """An administrator restarts Postgres."""
    return await _harmed(server, seed, seconds, "Postgres restarted", server.start)


async def _harmed(
    server: Server, seed: int, seconds: float, what: str, harm: Callable[[], Awaitable[None]]
) -> Verdict:
    rng = random.Random(seed)
    async with scene(server, seed=seed) as world:
        await world.open(world.ports[0])
        await world.start_load()
        await world.answers(30)
        until = time.monotonic() + seconds
        while time.monotonic() < until or not world.faults:
            await asyncio.sleep(rng.uniform(0.2, 1.5))
            world.fault()
            await harm()
            await world.answers(50)
        return Verdict(what, len(world.faults), await judge(world))
