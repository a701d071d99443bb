"""A door in front of Postgres, or of a port, that can be slammed at a chosen moment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum, auto
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

SOCKET_NAME = ".s.PGSQL.5432"


class Fault(Enum):
    """What becomes of the next message that contains the marker."""

    NONE = auto()
    CUT_BEFORE = auto()  # the server never gets it
    CUT_DURING = auto()  # the server gets half of it
    CUT_AFTER = auto()  # the server gets it and works; its answer is lost


class Proxy:
    """Forwards bytes between clients and the server; `arm` makes it fail once, at a marker."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._fault = Fault.NONE
        self._marker = b""
        self.fired = 0
        self.through = asyncio.Event()  # cleared: nothing goes through, no end either
        self.through.set()
        self._shut = False
        self._clients: set[asyncio.StreamWriter] = set()

    def shut(self) -> None:
        """End every connection, and every new one at once."""
        self._shut = True
        for client in self._clients:
            client.close()

    def open(self) -> None:
        self._shut = False

    def arm(self, fault: Fault, marker: bytes) -> None:
        self._fault, self._marker = fault, marker

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shut:
            writer.close()
            return
        self._clients.add(writer)
        try:
            up_reader, up_writer = await self._reach()
        except OSError:  # Nobody listens there now.
            writer.close()
            return
        back = asyncio.create_task(self._back(up_reader, writer))
        try:
            while await self._passed(chunk := await reader.read(1 << 20)):
                fault, fires = self._fault, self._marker in chunk and self._fault is not Fault.NONE
                if fires:
                    self._fault = Fault.NONE
                    self.fired += 1
                    back.cancel()
                    await asyncio.wait([back])  # Only one may read at a time.
                if not (fires and fault is Fault.CUT_BEFORE):
                    half = fires and fault is Fault.CUT_DURING
                    up_writer.write(chunk[: len(chunk) // 2] if half else chunk)
                    await up_writer.drain()
                if fires:
                    if fault is Fault.CUT_AFTER:
                        await up_reader.read(1)  # It has answered, so it has committed.
                    break
        except ConnectionError:
            pass
        finally:
            self._clients.discard(writer)
            back.cancel()
            for end in (writer, up_writer):
                end.close()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, str):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _passed(self, chunk: bytes) -> bool:
        """Wait until bytes, or the end of them, may be told; return whether these were bytes."""
        await self.through.wait()
        return bool(chunk)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._passed(chunk := await reader.read(1 << 20)):
                writer.write(chunk)
                await writer.drain()
            writer.close()


@contextlib.asynccontextmanager
async def proxied(dsn: str, folder: Path) -> AsyncIterator[tuple[str, Proxy]]:
    """Yield a DSN that leads through a proxy, and the proxy."""
    host = parse_qs(urlsplit(dsn).query)["host"][0]
    proxy = Proxy(f"{host}/{SOCKET_NAME}")
    server = await asyncio.start_unix_server(proxy.serve, f"{folder}/{SOCKET_NAME}")
    parts = urlsplit(dsn)
    try:
        yield (
            f"{parts.scheme}://{parts.netloc}{parts.path}?host={quote(str(folder), safe='')}",
            proxy,
        )
    finally:
        proxy.through.set()
        server.close()
        server.close_clients()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def doored(port: int) -> AsyncIterator[tuple[int, Proxy]]:
    """Yield a port that leads to this one through a proxy, and the proxy."""
    proxy = Proxy(("127.0.0.1", port))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1]), proxy
    finally:
        proxy.through.set()
        server.close()
        server.close_clients()
        await server.wait_closed()
