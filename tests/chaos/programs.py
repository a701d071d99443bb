"""The programs that get killed, and the load: what runs in processes of their own.

They are forked from a process that has imported everything, so that a killed one is replaced at
once; otherwise they are what is shipped. What they print goes into a file, which is read to see
that they are ready.
"""

import asyncio
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from shieldx.keeper.main import Options, keep
from shieldx.ledger import steps
from shieldx.ledger.batcher import Batcher, perform
from shieldx.ledger.operations import ChangeAccount, OpenAccount
from shieldx.sidecar.auth import NoTokens
from shieldx.sidecar.config import Config
from shieldx.sidecar.main import Process
from tests.chaos import load
from tests.support.api import Reviewer

READY = "ready"
SERVING = "ShieldX ledger on"
RIVAL = "rival"


def api(dsn: str, port: int) -> None:
    """Serve the ledger as `shieldx sidecar` does, to everybody."""

    async def serve() -> None:
        process = Process(dsn, Config(ledger="test/credits"), NoTokens())
        metrics = ("127.0.0.1", None)
        await process.serve(asyncio.Event(), host="127.0.0.1", port=port, metrics=metrics)

    uvloop.run(serve())


def keeper(dsn: str) -> None:
    """Keep the ledger as `shieldx keeper` does."""
    with TemporaryDirectory() as folder:
        files = Path(folder)
        (files / "dsn").write_text(dsn)
        (files / "config.json").write_text('{"ledger": "test/credits", "shard": "s0"}')
        options = Options(files / "dsn", files / "config.json", "s:o", "127.0.0.1", 0)
        print(READY, flush=True)
        uvloop.run(keep(options, Reviewer(), asyncio.Event()))


def rival(dsn: str) -> None:
    """Write under the guard without a pause, so that others are refused and must lock the head."""

    async def write() -> None:
        batcher = Batcher(dsn, "s0")
        await batcher.start()
        await perform(batcher, RIVAL, "open", OpenAccount(id=RIVAL))
        print(READY, flush=True)
        number = 0
        while True:
            number += 1
            change = ChangeAccount(id=RIVAL, metadata={"number": number})
            await perform(batcher, RIVAL, None, change)

    uvloop.run(write())


def customers(options: load.Options) -> None:
    """Spend until told to stop."""
    print(READY, flush=True)
    asyncio.run(load.load(options))


PROGRAMS = {"api": api, "keeper": keeper, "rival": rival, "customers": customers}


def run(name: str, arguments: tuple[object, ...], crash_at: str, log: str) -> None:
    """Be one of the programs, in a process that was forked for it."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    steps.plan(crash_at)
    PROGRAMS[name](*arguments)  # type: ignore[operator]
