"""One client's connection: its bytes in, exchanges out, answers back in order.

httptools parses; a complete request becomes an `Exchange` and goes to the server's handler. What
protects the process from one client is enforced here: limits on header and body, deadlines for slow
readers and writers, a bound on requests in flight (`shieldx.sidecar.limits`).
"""

import asyncio
import logging
import socket
from collections import deque
from typing import TYPE_CHECKING, Final, cast

import httptools

from shieldx.sidecar.exchange import Exchange, Shown

if TYPE_CHECKING:
    from shieldx.sidecar.server import Server

logger = logging.getLogger(__name__)

# More is not written at once: a client that does not read must not have all its answers copied.
WRITE_BYTES: Final = 256 * 1024
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client: parses its requests, keeps their order, and knows when it takes too long."""

    __slots__ = (
        "_body_size",
        "_careful",
        "_chunks",
        "_closing_since",
        "_dirty",
        "_eof",
        "_head_complete",
        "_head_parsed",
        "_head_size",
        "_hosts",
        "_idle_since",
        "_last",
        "_limits",
        "_line",
        "_lost",
        "_parser",
        "_reading",
        "_reading_paused",
        "_reading_since",
        "_server",
        "_stalled_since",
        "_transport",
        "_url",
        "_writing_paused",
        "shown",
    )

    shown: Shown | None
    _transport: asyncio.Transport

    def __init__(self, server: "Server") -> None:
        self.shown = None
        self._server = server
        self._limits = server.limits
        self._line: deque[Exchange] = deque()
        self._parser = httptools.HttpRequestParser(self)
        self._reading: Exchange | None = None
        self._url = b""
        self._hosts = 0
        self._head_complete = True
        self._head_parsed = 0
        self._head_size = 0
        self._body_size = 0
        self._careful = False
        self._chunks: list[bytes] = []
        self._last = False
        self._lost = False
        self._eof = False
        self._dirty = False
        self._reading_paused = False
        self._writing_paused = False
        self._idle_since = server.now
        self._reading_since = 0.0
        self._stalled_since = 0.0
        self._closing_since = 0.0

    @property
    def unanswered(self) -> int:
        """The number of accepted requests whose answer has not been written."""
        return len(self._line)

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._server.connections.add(self)
        if len(self._server.connections) > self._server.limits.connections:
            self._turn_away("overloaded", "Too many connections; try again shortly.")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server.connections.discard(self)
        self._forget_body()
        self._last = True
        self._lost = True
        # What is not answered yet is still being worked on: it counts until it is.
        self._server.buffered -= sum(one.held for one in self._line if one.answered)
        self._line.clear()

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        # Only where a head could be too large, its fields are counted one by one; of one that
        # follows another's body in one read, what came with that is not counted then.
        self._careful = self._head_size + len(data) > self._limits.header_bytes
        if self._careful:
            self._head_parsed = self._head_size
        if not self._head_complete or self._reading is None:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._malformed()
            return
        if not self._head_complete and self._head_size > self._limits.header_bytes:
            self._head_too_large()
        if len(self._line) >= self._limits.in_flight:
            self._pause_reading()

    def eof_received(self) -> bool:
        """Keep the other half open while the client has answers to read."""
        self._eof = True
        self._last = True
        return bool(self._line)

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._stalled_since = self._server.now
        self._pause_reading()

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._resume_reading()
        self._touch()

    # What the parser says.

    def on_message_begin(self) -> None:
        if self._last:
            return
        self._reading = Exchange(self, b"")
        self._url = b""
        self._hosts = 0
        self._head_parsed = 0
        self._head_complete = False
        self._reading_since = self._server.now

    def on_url(self, url: bytes) -> None:
        self._url += url
        if self._careful:
            self._head_parsed += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._reading
        if self._last or exchange is None:
            return
        if self._careful and self._makes_head_too_large(len(name) + len(value) + 4):
            return
        match name.lower():
            case b"host":
                self._hosts += 1
            case b"authorization":
                exchange.authorization = value
            case b"idempotency-key":
                # Two keys are no key: the unprintable separator is refused by the route.
                value = value if exchange.key is None else exchange.key + b"\0" + value
                exchange.key = value
            case b"content-length":
                if value.isdigit() and self._is_too_large(int(value)):
                    self._too_large()
            case b"expect":
                if value.lower() == b"100-continue" and not self._line:
                    self._transport.write(CONTINUE)
            case _:
                pass

    def on_headers_complete(self) -> None:
        exchange = self._reading
        if self._last or exchange is None:
            return
        self._head_complete = True
        self._head_size = 0
        exchange.method = self._parser.get_method()
        if self._parser.get_http_version() != "1.1":
            self._turn_away("http_version_not_supported", "Speak HTTP/1.1.")
        elif self._parser.should_upgrade():
            self._turn_away("invalid_upgrade", "Send plain HTTP/1.1, no Upgrade.")
        elif self._hosts != 1:
            self._turn_away("invalid_host", "Send exactly one Host header.")

    def on_body(self, body: bytes) -> None:
        if self._last:
            return
        size, server = len(body), self._server
        self._body_size += size
        server.buffered += size
        if self._is_too_large(self._body_size):
            self._too_large()
        elif server.buffered > self._limits.buffered_bytes:
            self._turn_away("overloaded", "Too many bodies at once; try again shortly.")
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        exchange = self._reading
        if self._last or exchange is None:
            return
        self._reading = None
        exchange.target, _, exchange.query = self._url.partition(b"?")
        chunks = self._chunks
        if chunks:
            exchange.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            exchange.held, self._body_size = self._body_size, 0
            self._chunks = []
        else:
            exchange.body = b""
        self._last = not self._parser.should_keep_alive()
        self._line.append(exchange)
        self._server.accept(exchange)

    # Answers.

    def ready(self, exchange: Exchange) -> None:
        size, server = len(exchange.payload or b""), self._server
        server.buffered += (0 if self._lost else size) - exchange.held
        exchange.held, exchange.body = size, b""
        if not self._dirty and not self._lost:
            self._dirty = True
            server.touch(self)

    def flush(self) -> None:
        """Write every answer whose turn it is, in as few writes as may be."""
        self._dirty = False
        if self._writing_paused or self._closing_since or self._transport.is_closing():
            return
        line, server = self._line, self._server
        out: list[bytes] = []
        size = 0
        while line and line[0].payload is not None and size < WRITE_BYTES:
            exchange = line.popleft()
            out += (exchange.head(), server.date, b"\r\n", exchange.payload or b"")
            size += exchange.held
        if not out:
            return
        server.buffered -= size
        if size >= WRITE_BYTES:
            self._touch()
        if server.draining and not line and self._reading is None:
            self._last = True
        ends = self._last and not line
        if ends:
            out[-2] = b"connection: close\r\n\r\n"
        self._idle_since = server.now
        self._transport.write(b"".join(out))
        if ends:
            self._linger()
        elif self._reading_paused and len(line) < server.limits.in_flight // 2:
            self._resume_reading()

    def _touch(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._server.touch(self)

    def finish(self) -> None:
        """End the connection as soon as nothing that was accepted is open on it."""
        if not self._line and self._reading is None and not self._closing_since:
            self._last = True
            self._linger()

    def abort(self) -> None:
        self._transport.abort()

    def expire(self, now: float) -> None:
        """End what has taken too long."""
        limits = self._server.limits
        if self._closing_since:
            if now - self._closing_since > limits.linger_seconds:
                self._transport.abort()
        elif self._writing_paused:
            if now - self._stalled_since > limits.write_seconds:
                self._transport.abort()
        elif self._reading is not None:
            if not self._reading_paused and now - self._reading_since > limits.request_seconds:
                self._turn_away("request_timeout", "Send the request faster.")
        elif not self._line and now - self._idle_since > limits.idle_seconds:
            self.finish()

    # Refusals that end the connection, since what follows cannot be understood.

    def _malformed(self) -> None:
        self._turn_away("invalid_request", "This is not well-formed HTTP/1.1.")

    def _makes_head_too_large(self, more: int) -> bool:
        self._head_parsed += more
        too_large = self._head_parsed > self._limits.header_bytes
        if too_large:
            self._head_too_large()
        return too_large

    def _head_too_large(self) -> None:
        limit = self._server.limits.header_bytes
        message = f"Send at most {limit} bytes of header."
        self._turn_away("header_too_large", message, {"limit": limit})

    def _too_large(self) -> None:
        limit = self._limit()
        self._turn_away("body_too_large", f"Send at most {limit} bytes.", {"limit": limit})

    def _turn_away(self, code: str, message: str, facts: dict[str, object] | None = None) -> None:
        if self._last:
            return
        exchange = self._reading or Exchange(self, b"")
        self._reading = None
        self._last = True
        self._forget_body()
        self._line.append(exchange)
        exchange.refuse(code, message, facts)

    def _is_too_large(self, size: int) -> bool:
        # Only what is large is worth finding out whose body it is.
        return size > self._limits.body_bytes and size > self._limit()

    def _limit(self) -> int:
        limits = self._limits
        large = self._url.partition(b"?")[0] in limits.large_targets
        return limits.large_body_bytes if large else limits.body_bytes

    def _forget_body(self) -> None:
        self._server.buffered -= self._body_size
        self._body_size = 0
        self._chunks = []

    def _linger(self) -> None:
        # Closing at once with unread input would reset the connection and could destroy the
        # answer on its way; so our half is closed first and the rest read and thrown away.
        self._closing_since = self._server.now or 1.0
        self._writing_paused = False
        if self._eof or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._writing_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()
