"""The clients: keep-alive connections that speak raw HTTP/1.1, cheap enough to share two cores.

A `Script` says what one client sends. A *unit* is what is counted and timed: one request, one
batch, or a reservation with its commit. Closed loops send the next unit when the last is
answered; an open loop sends by the clock and times from the moment that was meant.
"""

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

LENGTH = b"content-length: "
TICK_SECONDS = 0.001
PATIENCE_SECONDS = 20.0


class Script(Protocol):
    """What one client says; `weight` operations a unit."""

    weight: int

    def first(self) -> bytes:
        """Return the first request of a unit."""

    def following(self, status: bytes, body: bytes) -> bytes | None:
        """Return the unit's next request, or None if this answer was its last.

        WrongAnswerError if this is not the answer that it must be.
        """


class WrongAnswerError(Exception):
    """A server did not do what it was asked: its numbers would mean nothing."""


class OverloadedError(Exception):
    """A server said that more is asked of it than it can do; only an open loop may hear that."""


@dataclass
class Tally:
    """What was answered, and how long each unit took."""

    units: int = 0
    operations: int = 0
    refused: int = 0
    seconds: float = 0.0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    def milliseconds(self, quantile: float) -> float:
        """Return this quantile of the latencies."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


class _Client(asyncio.Protocol):
    """One connection. `depth` units at once, then the next so many when all are answered."""

    transport: asyncio.Transport

    def __init__(self, script: Script, tally: Tally, depth: int) -> None:
        self.script = script
        self.tally = tally
        self.depth = depth
        self.stopped = False
        self.waiting: deque[float] = deque()
        self.idle = asyncio.Event()
        self.failure: Exception | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a connected socket's is one

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self._fail(exc or WrongAnswerError("the server hung up"))

    def send(self, since: float, units: int = 1) -> None:
        """Send whole units, timed from `since`."""
        self.idle.clear()
        self.waiting.extend([since] * units)
        first = self.script.first
        self.transport.write(first() if units == 1 else b"".join([first() for _ in range(units)]))

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while at < size:
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                break
            length = data.find(LENGTH, at, end) + len(LENGTH)
            stop = end + 4 + int(data[length : data.find(b"\r", length)])
            if stop > size:
                break
            try:
                following = self.script.following(data[at + 9 : at + 12], data[end + 4 : stop])
            except OverloadedError as overloaded:
                if self.depth:
                    self._fail(overloaded)
                    return
                self._refused()
                at = stop
                continue
            except WrongAnswerError as wrong:
                self._fail(wrong)
                return
            if following is None:
                self._count()
            else:
                self.transport.write(following)
            at = stop
        self._rest = data[at:] if at else data

    def _count(self) -> None:
        now, tally = time.perf_counter(), self.tally
        tally.latencies.append(now - self.waiting.popleft())
        tally.units += 1
        tally.operations += self.script.weight
        if self.waiting:
            return
        if self.stopped or not self.depth:
            self.idle.set()
        else:
            self.send(now, self.depth)

    def _refused(self) -> None:
        self.waiting.popleft()
        self.tally.refused += 1
        if not self.waiting:
            self.idle.set()

    def _fail(self, failure: Exception) -> None:
        self.failure = failure
        self.stopped = True
        self.idle.set()
        self.transport.abort()


async def _connect(port: int, scripts: list[Script], tally: Tally, depth: int) -> list[_Client]:
    loop = asyncio.get_running_loop()
    clients = [_Client(script, tally, depth) for script in scripts]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    return clients


async def _finish(clients: list[_Client]) -> None:
    for client in clients:
        client.stopped = True
    for client in clients:
        if client.waiting:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await client.idle.wait()
        client.transport.close()
    for client in clients:
        if client.failure is not None:
            raise client.failure


async def closed_loop(
    port: int, script: Callable[[], Script], connections: int, seconds: float, depth: int = 1
) -> Tally:
    """Keep every connection busy for so long; what is in flight at the end is waited for."""
    tally = Tally()
    clients = await _connect(port, [script() for _ in range(connections)], tally, depth)
    began = time.perf_counter()
    for client in clients:
        client.send(began, depth)
    await asyncio.sleep(seconds)
    await _finish(clients)
    tally.seconds = time.perf_counter() - began
    return tally


async def open_loop(
    port: int, script: Callable[[], Script], connections: int, seconds: float, rate: int
) -> Tally:
    """Send `rate` units a second, whether answers come or not."""
    tally = Tally()
    clients = await _connect(port, [script() for _ in range(connections)], tally, 0)
    began = time.perf_counter()
    sent, most = 0, int(rate * seconds)
    while sent < most and not any(one.failure for one in clients):
        due = min(most, int((time.perf_counter() - began) * rate) + 1)
        for number in range(sent, due):
            clients[number % connections].send(began + number / rate)
        sent = due
        await asyncio.sleep(TICK_SECONDS)
    await _finish(clients)
    tally.seconds = time.perf_counter() - began
    return tally
