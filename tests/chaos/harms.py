"""What is done to the database's surroundings: the connection, the disk, the clock, one item."""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

import asyncpg

from tests.chaos.campaigns import Verdict
from tests.chaos.judge import judge
from tests.chaos.world import ChaosError, Server, scene
from tests.support.proxy import Fault, proxied

# What every call of `store` carries and nothing else does: an operation in normal form.
STORE_MARK: Final = b'"type":"'
CUTS: Final = (Fault.CUT_BEFORE, Fault.CUT_DURING, Fault.CUT_AFTER)
DISK_MIB: Final = 160
CLOCK: Final = """
create table chaos_clock (microseconds bigint not null);
insert into chaos_clock values (0);
create or replace function clock_microseconds() returns bigint language sql volatile as $$
select (extract(epoch from clock_timestamp()) * 1000000)::bigint + microseconds from chaos_clock
$$;
"""
POISON: Final = """
create function refuse() returns trigger language plpgsql as $$
begin
    raise exception 'poison';
end;
$$;
create trigger refuse before insert on transfers
for each row when (new.kind = 'poison') execute function refuse();
"""


async def connection_cut(server: Server, seed: int, seconds: float) -> Verdict:
    """The connection breaks before, in the middle of, and after a batch reaches Postgres."""
    rng = random.Random(seed)
    cuts = 0
    with tempfile.TemporaryDirectory(prefix="chaos-door-") as folder:
        async with (
            scene(server, seed=seed) as world,
            proxied(world.dsn, Path(folder)) as (through, proxy),
        ):
            await world.open(world.ports[0], dsn=through)
            await world.start_load()
            await world.answers(30)
            until = time.monotonic() + seconds
            while time.monotonic() < until or cuts < len(CUTS):
                proxy.arm(CUTS[cuts % len(CUTS)], STORE_MARK)
                cuts += 1
                async with asyncio.timeout(60):
                    while proxy.fired < cuts:  # noqa: ASYNC110 - a count, not an event
                        await asyncio.sleep(0.01)
                world.fault()
                await world.answers(20)
                await asyncio.sleep(rng.uniform(0.0, 0.5))
            return Verdict("connection cut around COMMIT", cuts, await judge(world))


async def clock_jumps(server: Server, seed: int, seconds: float) -> Verdict:
    """The database's clock is set forward and back by up to a day."""
    rng = random.Random(seed)
    async with scene(server, seed=seed) as world:
        await world.open(world.ports[0])
        await world.start_load()
        await world.answers(30)
        connection = await asyncpg.connect(world.dsn)
        await connection.execute(CLOCK)
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(world.faults) < 4:
            jump = rng.choice([-86_400, -3600, -30, -2, 2, 30, 3600]) * 1_000_000
            world.fault()
            await connection.execute("update chaos_clock set microseconds = $1", jump)
            await world.answers(20)
            await asyncio.sleep(rng.uniform(0.0, 0.5))
        await connection.close()
        verdict = await judge(world, holds_expire=True)
        return Verdict("the database's clock jumps", len(world.faults), verdict)


async def poisoned_items(server: Server, seed: int, seconds: float) -> Verdict:
    """The database refuses single items: they fail, and whoever is in their batch does not."""
    async with scene(server, seed=seed) as world:
        await world.open(world.ports[0])
        connection = await asyncpg.connect(world.dsn)
        await connection.execute(POISON)
        await connection.close()
        await world.start_load(poison=0.03)
        await asyncio.sleep(seconds)
        await world.answers(30)
        verdict = await judge(world)
        asked = world.journal().asked.values()
        poisoned = [one for one in asked if one.key.startswith("poison-")]
        harmed = [one.key for one in asked if one not in poisoned and 500 in one.statuses]
        verdict.problems += [f"{key} was harmed by a neighbour" for key in harmed]
        if not poisoned:
            raise ChaosError("nothing was poisoned")
        return Verdict("poisoned items", len(poisoned), verdict)


async def disk_full(seed: int, rounds: int = 2) -> Verdict:
    """Postgres's volume fills up under load, until it is given room again.

    The volume is a small tmpfs; mounting it takes root, so `in_own_mounts` must have been used.
    """
    with tempfile.TemporaryDirectory(prefix="chaos-disk-") as folder:
        mount(Path(folder))
        try:
            # Small segments, so that the log itself runs out of room, too.
            settings = {"max_wal_size": "64MB", "min_wal_size": "32MB"}
            async with Server(Path(folder), settings) as server, scene(server, seed=seed) as world:
                world.folder = Path(tempfile.mkdtemp(prefix="chaos-journal-"))
                await world.open(world.ports[0])
                await world.start_load()
                for _ in range(rounds):
                    await world.answers(100)
                    ballast = Path(folder) / "ballast"
                    fill(ballast)
                    world.fault()
                    await refused(world.journal_file)
                    ballast.unlink()
                    if server.postmaster is None:
                        await server.start()
                    await world.answers(100)
                verdict = await judge(world)
                shutil.rmtree(world.folder)
                return Verdict("disk of Postgres full", rounds, verdict)
        finally:
            await asyncio.to_thread(subprocess.run, ["umount", "--lazy", folder], check=False)


def mount(folder: Path) -> None:
    """Make `folder` a small volume."""
    options = f"size={DISK_MIB}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Take all the room that is left."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


async def refused(journal: Path, seconds: float = 60) -> None:
    """Wait until customers are told that the shard cannot write."""

    def told() -> int:
        return journal.read_bytes().count(b'"status": 503')

    async with asyncio.timeout(seconds):
        before = await asyncio.to_thread(told)
        while await asyncio.to_thread(told) == before:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.1)


def may_mount() -> bool:
    """Return whether this process has mounts of its own, in which it may make more."""
    ours, parents = (Path(f"/proc/{pid}/ns/mnt").readlink() for pid in ("self", os.getppid()))
    return os.geteuid() == 0 and ours != parents
