"""Postgres, databases, processes, and what can be done to them."""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from shieldx.ledger.embedded import EmbeddedPostgres
from shieldx.ledger.steps import VARIABLE, Step
from tests.chaos import programs
from tests.chaos.journal import Journal
from tests.chaos.load import Options
from tests.support.ports import free_port
from tests.support.processes import children

START_SECONDS: Final = 60
STOP_SECONDS: Final = 20
FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.chaos.programs"])


class ChaosError(AssertionError):
    """Something did not go as a campaign needs it."""


class Server:
    """One PostgreSQL server with fsync on, and databases in it."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._postgres = EmbeddedPostgres(folder / "data", settings=settings)
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it, also after it was killed or has died."""
        await self._postgres.stop()
        await self._postgres.start()

    async def stop(self) -> None:
        """Stop it as an administrator does."""
        await self._postgres.stop()

    async def database(self) -> str:
        """Make an empty database, and return where it is."""
        name = f"chaos_{next(self._numbers)}"
        connection = await asyncpg.connect(self._postgres.dsn)
        await connection.execute(f"create database {name}")
        await connection.close()
        return urlunsplit(urlsplit(self._postgres.dsn)._replace(path=f"/{name}"))

    async def drop(self, dsn: str) -> None:
        """Remove a database: recovery would sync its files again and again."""
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(self._postgres.dsn)
            name = urlsplit(dsn).path.removeprefix("/")
            await connection.execute(f"drop database {name} with (force)")
            await connection.close()

    async def kill(self) -> int:
        """SIGKILL the postmaster and all backends; return how many processes that were."""
        return await asyncio.to_thread(self._kill)

    @property
    def postmaster(self) -> int | None:
        """The first process of the server, if it lives."""
        try:
            text = (self.folder / "data" / "pgdata" / "postmaster.pid").read_text()
            pid = int(text.partition("\n")[0])
            return pid if b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
        except (OSError, ValueError):
            return None

    def _kill(self) -> int:
        postmaster = self.postmaster
        if postmaster is None:
            raise ChaosError("there is no server to kill")
        family = [postmaster, *children(postmaster)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # It is gone when none of them holds the shared memory any more.
        until = time.monotonic() + STOP_SECONDS
        while any(alive(pid) for pid in family):
            if time.monotonic() > until:
                raise ChaosError(f"processes survive SIGKILL: {family}")
            time.sleep(0.01)
        return len(family)


class Program:
    """One of the programs in a process of its own, which can be killed and kills itself."""

    def __init__(self, name: str, *arguments: object, crash_at: str = "", log: Path) -> None:
        self._name = name
        self._log = log
        self.process = FORKS.Process(
            target=programs.run, args=(name, arguments, crash_at, str(log)), daemon=True
        )

    async def begin(self, says: str = "") -> Self:
        """Start it, and wait until it has said that it is ready."""
        self._log.touch()
        # Else the process that forks finds no modules to import (CPython before 3.13.1).
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        await asyncio.to_thread(self.process.start)
        until = time.monotonic() + START_SECONDS
        while says and says not in self._log.read_text(errors="replace"):
            if time.monotonic() > until or not self.process.is_alive():
                raise ChaosError(f"{self._name} does not start: {self.last_words()}")
            await asyncio.sleep(0.02)
        return self

    async def kill(self) -> None:
        """SIGKILL it, and wait until it is gone."""
        if self.process.pid is not None:
            self.process.kill()
            await self.ended()

    async def ended(self, seconds: float = START_SECONDS) -> int:
        """Wait for its end and return the exit status."""
        await asyncio.to_thread(self.process.join, seconds)
        if self.process.exitcode is None:
            raise ChaosError(f"{self._name} has not ended within {seconds} s: {self.last_words()}")
        return self.process.exitcode

    async def crashed(self, step: Step) -> None:
        """Wait until it has killed itself at that step, and see that this is what happened."""
        try:
            status = await self.ended()
        except ChaosError as error:
            raise ChaosError(f"{step} was not reached: {error}") from None
        words = self._log.read_text(errors="replace")
        if status != -signal.SIGKILL or f"{VARIABLE}={step}: killed" not in words:
            raise ChaosError(f"{step}: the process ended with {status}: {self.last_words()}")

    def last_words(self) -> str:
        return " / ".join(self._log.read_text(errors="replace").splitlines()[-5:])


@dataclass
class Scene:
    """One database, the processes on it, and a load from outside."""

    server: Server
    dsn: str
    folder: Path
    ports: list[int]
    seed: int

    def __post_init__(self) -> None:
        self.apis: dict[int, Program] = {}
        self.programs: list[Program] = []
        self.load: Program | None = None
        self.faults: list[int] = []  # when something went wrong on purpose
        self._numbers = itertools.count(1)
        self._journal = Journal()

    @property
    def journal_file(self) -> Path:
        return self.folder / "journal"

    def journal(self) -> Journal:
        """Return what the customers have written so far."""
        return self._journal.follow(self.journal_file)

    def program(self, name: str, *arguments: object, crash_at: str = "") -> Program:
        """Make one of the programs, with a log of its own."""
        log = self.folder / f"log-{next(self._numbers)}-{name}"
        program = Program(name, *arguments, crash_at=crash_at, log=log)
        self.programs.append(program)
        return program

    async def open(self, port: int, *, dsn: str = "", crash_at: str = "") -> Program:
        """Let an API process serve this port; one that is to crash is not waited for."""
        program = self.program("api", dsn or self.dsn, port, crash_at=crash_at)
        self.apis[port] = program
        return await program.begin("" if crash_at else programs.SERVING)

    async def keep(self, crash_at: str = "") -> Program:
        """Let a keeper work."""
        return await self.program("keeper", self.dsn, crash_at=crash_at).begin()

    async def start_load(
        self, *, hold_seconds: int = 600, poison: float = 0.0, lots: bool = False
    ) -> None:
        """Let customers begin, in a process of their own, and wait until they ask."""
        self.journal_file.touch()
        options = Options(
            self.journal_file,
            tuple(self.ports),
            seed=self.seed,
            hold_seconds=hold_seconds,
            poison=poison,
            lots=lots,
        )
        self.load = await self.program("customers", options).begin(programs.READY)

    async def answers(self, more: int, seconds: float = 60) -> None:
        """Wait until so many more keys have been answered for good."""
        before = self.journal().acknowledged
        until = time.monotonic() + seconds
        while self.journal().acknowledged < before + more:
            if time.monotonic() > until or (self.load and not self.load.process.is_alive()):
                words = self.load.last_words() if self.load else ""
                raise ChaosError(f"no {more} answers within {seconds} s {words}")
            await asyncio.sleep(0.1)

    async def asking(self) -> None:
        """Wait until the first key has been sent."""
        async with asyncio.timeout(START_SECONDS):
            while not self.journal().asked:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)

    def fault(self) -> None:
        """Remember that something is going wrong now."""
        self.faults.append(time.monotonic_ns())

    async def stop_load(self) -> None:
        """End the load at once, whatever is in flight."""
        if self.load is not None:
            self.load.process.terminate()
            if await self.load.ended():
                raise ChaosError(f"the load failed: {self.load.last_words()}")

    async def close(self) -> None:
        """End every process."""
        for program in self.programs:
            await program.kill()


@contextlib.asynccontextmanager
async def scene(server: Server, *, apis: int = 1, seed: int = 0) -> AsyncIterator[Scene]:
    """Make a database and a place for so many API processes."""
    dsn = await server.database()
    folder = server.folder / dsn.partition("?")[0].rpartition("/")[2]
    folder.mkdir()
    made = Scene(server, dsn, folder, [free_port() for _ in range(apis)], seed)
    try:
        yield made
    finally:
        await made.close()
        await server.drop(dsn)


def alive(pid: int) -> bool:
    """Return whether the process runs; a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
