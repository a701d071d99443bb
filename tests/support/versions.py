"""The ledger's engine as programs of several versions, each in a process of its own.

Version 1 is what this checkout ships; a later one is the same with more migrations. Each migrates,
then writes without a pause and says every key that was answered.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from shieldx.ledger.steps import VARIABLE

PROGRAM = """
import asyncio, itertools, json, os, sys
from shieldx.ledger import schema

known = schema.migrations()
for sql in json.loads(os.environ["LATER"]):
    number = known[-1].number + 1
    known.append(schema.Migration(number, f"{number:04}_later.sql", sql))
schema.migrations = lambda: known

from shieldx.ledger.batcher import perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import Transfer
from shieldx.ledger.postgres import ShardUnavailableError

async def main():
    ledger = Ledger.open(os.environ["DSN"], "s0")
    while True:
        try:
            print("serving", await ledger.migrate(), flush=True)
            break
        except ShardUnavailableError:
            await asyncio.sleep(0.1)
    await ledger.start()
    numbers = itertools.count()

    async def customer():
        while True:
            key = f"{os.getpid()}-{next(numbers)}"
            one = Transfer(debit="a", credit="b", amount=1)
            answer = await perform(ledger.batcher, "me", key, one)
            print(answer.code, key, flush=True)
            await asyncio.sleep(0.005)

    await asyncio.gather(*(customer() for _ in range(4)))

try:
    asyncio.run(main())
except schema.SchemaError as error:
    sys.exit(str(error))
"""
EXPANDS = """-- Oldest program: 0001
alter table accounts add column later text;
alter table entries add column later bigint not null default 0;
alter table transfers add column later text;
create index entries_later on entries (later, position);
create table later (id bigint generated always as identity);
insert into later default values;
"""
CONTRACTS = """-- Oldest program: 0002
alter table accounts drop column later;
"""
SECONDS = 60


@dataclass
class Version:
    """A program that runs, or has ended, and what it has said."""

    process: asyncio.subprocess.Process
    answers: dict[str, str] = field(default_factory=dict)

    async def serves(self) -> int:
        """Wait until it has migrated; return the version of the database."""
        said = await self._line()
        if not said.startswith("serving"):
            raise AssertionError(await self.ended())
        return int(said.split()[1])

    async def writes(self, number: int) -> None:
        """Wait until it has got so many more answers."""
        for _ in range(number):
            code, key = (await self._line()).split()
            self.answers[key] = code

    async def kill(self) -> None:
        """SIGKILL it, and hear what it still had said."""
        self.process.kill()
        while said := await self._line():
            if said.endswith("\\n"):
                code, key = said.split()
                self.answers[key] = code
        await self.process.wait()

    async def ended(self) -> tuple[int | None, str]:
        """Wait for its end; return its exit status and what it said last."""
        async with asyncio.timeout(SECONDS):
            _, said = await self.process.communicate()
        return self.process.returncode, (said.decode().strip().splitlines() or [""])[-1]

    async def _line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            return (await self.process.stdout.readline()).decode()


@asynccontextmanager
async def version(dsn: str, *later: str, crash_at: str = "") -> AsyncIterator[Version]:
    """Start a program with these migrations after the shipped ones."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DSN": dsn,
        "LATER": json.dumps(later),
        VARIABLE: crash_at,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        yield Version(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
