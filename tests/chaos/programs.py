"""The programs that get killed, and the load: what runs in processes of their own.

They are forked from a process that has imported everything, so that a killed one is replaced at
once; otherwise they are what is shipped. What they print goes into a file, which is read to see
that they are ready.
"""

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from shieldx.keeper.main import Options, keep
from shieldx.kube.cluster import Identity
from shieldx.ledger import steps
from shieldx.ledger.batcher import Batcher, perform
from shieldx.ledger.forward import AUDIENCE, Forward
from shieldx.ledger.operations import ChangeAccount, OpenAccount
from shieldx.ledger.writer import Peers
from shieldx.sidecar.auth import NoTokens
from shieldx.sidecar.config import Config
from shieldx.sidecar.internal import admission
from shieldx.sidecar.main import Process
from tests.chaos import load
from tests.support.api import Reviewer

ACCOUNT = "shop/credits-api"
READY = "ready"
SERVING = "ShieldX ledger on"
RIVAL = "rival"


@dataclass(frozen=True, slots=True)
class Inner:
    """The internal port of an API process, the address that the others are told, and a token."""

    port: int
    address: str
    token: Path


class InnerReviewer:
    """Whose a token for the internal port is: its own text, `namespace/name`."""

    async def review_token(self, token: str, audience: str) -> Identity | None:
        assert audience == AUDIENCE
        namespace, _, name = token.partition("/")
        return Identity(namespace, name)


def api(dsn: str, port: int, inner: Inner | None = None) -> None:
    """Serve the ledger as `shieldx sidecar` does, to everybody; with `inner` as one of many."""

    async def serve() -> None:
        peers = Peers(Forward(inner.token), inner.address) if inner else None
        process = Process(dsn, Config(ledger="test/credits"), NoTokens(), peers=peers)
        if inner:
            door = admission(InnerReviewer(), [("shop", "credits-api")])
            process.open_internally(door, "127.0.0.1", inner.port)
        metrics = ("127.0.0.1", None)
        await process.serve(asyncio.Event(), host="127.0.0.1", port=port, metrics=metrics)

    uvloop.run(serve())


def keeper(dsn: str, token: Path | None = None) -> None:
    """Keep the ledger as `shieldx keeper` does."""
    with TemporaryDirectory() as folder:
        files = Path(folder)
        (files / "dsn").write_text(dsn)
        (files / "config.json").write_text('{"ledger": "test/credits", "shard": "s0"}')
        options = Options(
            files / "dsn", files / "config.json", "s:o", "127.0.0.1", 0, token_file=token
        )
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
