"""Three API processes on one shard, each of its own, and a way to do one of them harm."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.support.ports import free_port

ACCOUNT = "shop/credits-api"
PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from shieldx.kube.cluster import Identity
from shieldx.ledger.forward import Forward
from shieldx.ledger.writer import Peers
from shieldx.sidecar.auth import NoTokens
from shieldx.sidecar.config import Config
from shieldx.sidecar.internal import admission
from shieldx.sidecar.main import Process

class Reviewer:
    async def review_token(self, token, audience):
        assert audience == "shieldx-internal"
        return Identity(*token.split("/"))

async def main():
    internal = int(os.environ["INTERNAL"])
    peers = Peers(Forward(Path(os.environ["TOKEN_FILE"])), f"127.0.0.1:{internal}")
    process = Process(os.environ["DSN"], Config(ledger="test/credits"), NoTokens(), peers=peers)
    process.open_internally(
        admission(Reviewer(), [("shop", "credits-api")]), "127.0.0.1", internal
    )
    await process.serve(
        asyncio.Event(), host="127.0.0.1", port=0, metrics=("127.0.0.1", None)
    )

asyncio.run(main())
"""


@dataclass(eq=False)
class Server:
    """One process: its public and its internal port."""

    process: subprocess.Popen[str]
    port: int
    internal: int


class Trio:
    """The processes in the order of their start; the first one starts as the writer."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.servers: list[Server] = []
        self._dsn = dsn
        self._token = folder / "token"
        self._token.write_text(ACCOUNT)

    async def start(self, dsn: str | None = None) -> Server:
        """Start one more process, on a way of its own to the database if given."""
        internal = free_port()
        process = subprocess.Popen(  # noqa: ASYNC220 - it does not wait.
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "DSN": dsn or self._dsn,
                "INTERNAL": str(internal),
                "TOKEN_FILE": str(self._token),
            },
        )
        assert process.stdout is not None
        said = await asyncio.to_thread(process.stdout.readline)
        assert said.startswith("ShieldX ledger on "), said
        server = Server(process, int(said.split()[3].rpartition(":")[2]), internal)
        self.servers.append(server)
        return server

    async def writer(self) -> Server | None:
        """Return who holds the lock, as the database tells."""
        connection = await asyncpg.connect(self._dsn)
        try:
            address = await connection.fetchval("select address from current_writer()")
        finally:
            await connection.close()
        return next((s for s in self.servers if address == f"127.0.0.1:{s.internal}"), None)

    async def end(self) -> None:
        for server in self.servers:
            server.process.kill()
            await asyncio.to_thread(server.process.wait)
            if server.process.stdout is not None:
                server.process.stdout.close()


@contextlib.asynccontextmanager
async def trio(dsn: str, folder: Path, writers_dsn: str | None = None) -> AsyncIterator[Trio]:
    """Run three processes; the writer may go its own way to the database."""
    servers = Trio(dsn, folder)
    try:
        first = await servers.start(writers_dsn)
        async with asyncio.timeout(60):
            while await servers.writer() is not first:  # noqa: ASYNC110 - a row
                await asyncio.sleep(0.05)
        await asyncio.gather(servers.start(), servers.start())
        yield servers
    finally:
        await servers.end()
