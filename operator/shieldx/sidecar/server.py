"""The HTTP/1.1 server: listens, owns the connections, and ends without losing an answer.

It knows nothing of ledgers. Deadlines are swept a few times a second instead of one timer per
request, so they are coarse.
"""

import asyncio
import logging
from collections.abc import Callable
from email.utils import formatdate
from typing import cast

from shieldx.sidecar.connection import Connection
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.limits import Limits

logger = logging.getLogger(__name__)


class Server:
    """Listens, owns the connections, and ends without leaving a question unanswered."""

    def __init__(self, handle: Callable[[Exchange], None], limits: Limits | None = None) -> None:
        self.handle = handle
        self.limits = limits or Limits()
        self.draining = False
        self.connections: set[Connection] = set()
        self.buffered = 0
        self.now = 0.0
        self.date = b""
        self._listeners: list[asyncio.Server] = []
        self._accepted: list[Exchange] = []
        self._dirty: list[Connection] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._sweep()

    @property
    def full(self) -> bool:
        """Whether requests at work and answers on their way take all the room there is."""
        return self.buffered > self.limits.buffered_bytes

    async def listen(self, host: str, port: int) -> int:
        """Accept connections on `host`; return the port, which is chosen when 0 is asked for."""
        listener = await self._loop.create_server(
            lambda: Connection(self), host, port, backlog=1024
        )
        self._listeners.append(listener)
        return cast("int", listener.sockets[0].getsockname()[1])

    def drain(self) -> None:
        """Go on serving, but end every connection with its next answer."""
        self.draining = True

    async def close(self, patience_seconds: float = 10.0) -> int:
        """Stop listening, answer what was accepted, and return how many got no answer."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        began = self._loop.time()
        while self.connections and self._loop.time() < began + patience_seconds:
            # A request may be on its way on a connection that looks idle: wait for it a moment.
            if self._loop.time() > began + self.limits.grace_seconds:
                for connection in list(self.connections):
                    connection.finish()
            await asyncio.sleep(0.01)
        unanswered = sum(connection.unanswered for connection in self.connections)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        return unanswered

    def accept(self, exchange: Exchange) -> None:
        if not self._accepted:
            self._loop.call_soon(self._serve)
        self._accepted.append(exchange)

    def _serve(self) -> None:
        accepted, self._accepted = self._accepted, []
        for exchange in accepted:
            try:
                self.handle(exchange)
            except Exception:
                logger.exception("A request failed inside the server")
                exchange.refuse("internal_error", "Our fault: see the server's log.")

    def touch(self, connection: Connection) -> None:
        """Flush this connection once, after everything that gets ready in this turn of the loop."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    def _sweep(self) -> None:
        self.now = self._loop.time()
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        for connection in list(self.connections):
            connection.expire(self.now)
        self._sweeper = self._loop.call_later(self.limits.sweep_seconds, self._sweep)
