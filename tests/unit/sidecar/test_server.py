"""The HTTP server over a transport in memory: order, limits, deadlines, and a clean end."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldx.sidecar.connection import Connection
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.limits import Limits
from shieldx.sidecar.server import Server

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that remembers what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.out = b""
        self.largest = 0
        self.eof = False
        self.aborted = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.out += bytes(data)
        self.largest = max(self.largest, len(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Client:
    """One connection to a server whose handler only collects the exchanges."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.got: list[Exchange] = []
        self.server = Server(self.got.append, limits or Limits())
        self.wire = Wire()
        self.connection = Connection(self.server)
        self.connection.connection_made(self.wire)

    async def send(self, data: bytes) -> None:
        self.connection.data_received(data)
        await self.turn()

    async def turn(self) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def later(self, seconds: float) -> None:
        """Sweep as if that much time had passed."""
        self.connection.expire(self.server.now + seconds)

    @property
    def statuses(self) -> list[int]:
        return list(statuses(self.wire.out))


def statuses(out: bytes) -> Iterator[int]:
    for part in out.split(b"HTTP/1.1 ")[1:]:
        yield int(part[:3])


def post(body: bytes, target: bytes = b"/a", fields: bytes = b"") -> bytes:
    length = str(len(body)).encode()
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %b\r\n\r\n%b" % (
        target,
        fields,
        length,
        body,
    )


async def test_a_request_arrives_whole_however_it_is_cut() -> None:
    request = post(b'{"a": 1}', b"/v1/x?y=1", b"Idempotency-Key: k\r\nAuthorization: Bearer t\r\n")
    client = Client()

    for byte in request:
        await client.send(bytes([byte]))

    (exchange,) = client.got
    assert (exchange.method, exchange.target, exchange.query) == (b"POST", b"/v1/x", b"y=1")
    assert (exchange.key, exchange.authorization) == (b"k", b"Bearer t")
    assert exchange.body == b'{"a": 1}'


async def test_pipelined_answers_leave_in_the_order_of_their_requests() -> None:
    client = Client()
    await client.send(GET * 3)

    client.got[2].answer(200, b"third")
    client.got[0].answer(200, b"first")
    await client.turn()
    assert client.wire.out.endswith(b"first")

    client.got[1].answer(200, b"second")
    await client.turn()

    assert [client.wire.out.index(word) for word in (b"first", b"second", b"third")] == sorted(
        client.wire.out.index(word) for word in (b"first", b"second", b"third")
    )
    assert not client.wire.eof


async def test_an_exchange_is_answered_once() -> None:
    client = Client()
    await client.send(GET)

    client.got[0].answer(200, b"yes")
    client.got[0].answer(500, b"no")
    await client.turn()

    assert client.statuses == [200]


async def test_a_client_that_asks_for_it_is_disconnected_after_the_answer() -> None:
    client = Client()
    await client.send(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET)

    client.got[0].answer(200, b"")
    await client.turn()

    assert len(client.got) == 1
    assert b"connection: close" in client.wire.out
    assert client.wire.eof


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /a HTTP/1.1\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (
            post(b"0\r\n\r\n", fields=b"Transfer-Encoding: chunked\r\n"),
            400,
        ),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 5000 + b"1\r\n\r\n", 400),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 431),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20000, 431),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", 413),
        (
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n"
            + b"a" * 0x200000,
            413,
        ),
    ],
)
async def test_what_cannot_be_understood_is_refused_and_ends_the_connection(
    request_bytes: bytes, status: int
) -> None:
    client = Client()

    await client.send(request_bytes)

    assert client.statuses == [status]
    assert b"application/problem+json" in client.wire.out
    assert client.wire.eof
    assert client.got == []


async def test_header_bytes_are_counted_while_they_trickle_in() -> None:
    client = Client()
    await client.send(b"GET /a HTTP/1.1\r\nHost: x\r\nX: ")

    for _ in range(20):
        await client.send(b"a" * 1000)

    assert client.statuses == [431]


async def test_each_head_of_one_read_is_counted_by_itself() -> None:
    client = Client()
    small = b"GET /a HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"a" * 1000)
    large = b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"X: %b\r\n\r\n" % (b"a" * 17_000)

    await client.send(small * 40 + large)
    for exchange in client.got:
        exchange.answer(200, b"")
    await client.turn()

    assert client.statuses == [200] * 40 + [431]


async def test_a_head_that_begins_behind_a_body_is_counted() -> None:
    client = Client()
    await client.send(post(b"x" * 15_000) + b"GET /a HTTP/1.1\r\nHost: x\r\nX: ")
    client.got[0].answer(200, b"")

    for _ in range(20):
        await client.send(b"a" * 1000)

    assert client.statuses == [200, 431]


async def test_a_batch_may_be_larger_than_any_other_body() -> None:
    client = Client()

    await client.send(post(b"x" * 2_000_000, b"/v1/batch"))
    assert len(client.got[0].body) == 2_000_000

    await client.send(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 8388609\r\n\r\n")
    client.got[0].answer(200, b"")
    await client.turn()
    assert client.statuses == [200, 413]


async def test_bodies_of_all_clients_together_are_bounded() -> None:
    client = Client(Limits(buffered_bytes=1000))

    await client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + b"a" * 1001)

    assert client.statuses == [503]
    assert b"retry-after" in client.wire.out
    assert client.server.buffered == 0


async def test_a_request_takes_room_until_its_answer_is_written() -> None:
    client = Client(Limits(buffered_bytes=1000))
    await client.send(post(b"a" * 600) + post(b"b" * 300))
    assert client.server.buffered == 900

    client.got[1].answer(200, b"x" * 500)
    await client.turn()
    assert (client.server.buffered, client.server.full) == (1100, True)
    client.got[0].answer(200, b"y")
    await client.turn()

    assert client.statuses == [200, 200]
    assert client.server.buffered == 0


async def test_no_more_is_accepted_than_there_is_room_for() -> None:
    client = Client(Limits(buffered_bytes=1000))
    await client.send(post(b"a" * 800))
    await client.send(post(b"b" * 300))
    client.got[0].answer(200, b"")
    await client.turn()

    assert client.statuses == [200, 503]
    assert client.server.buffered == 0


async def test_a_client_that_leaves_gives_its_room_back_when_its_work_is_done() -> None:
    client = Client()
    await client.send(post(b"a" * 800) + post(b"b" * 100))
    client.got[1].answer(200, b"x" * 50)

    client.connection.connection_lost(None)
    assert client.server.buffered == 800
    client.got[0].answer(200, b"x" * 50)

    assert client.server.buffered == 0


async def test_answers_wait_for_a_client_that_does_not_read() -> None:
    client = Client()
    await client.send(GET * 3)
    client.connection.pause_writing()
    for exchange in client.got:
        exchange.answer(200, b"x" * 100)
    await client.turn()
    assert (client.wire.out, client.server.buffered) == (b"", 300)

    client.connection.resume_writing()
    await client.turn()

    assert client.statuses == [200, 200, 200]
    assert client.server.buffered == 0


async def test_many_large_answers_are_not_copied_at_once() -> None:
    client = Client()
    await client.send(GET * 4)
    for exchange in client.got:
        exchange.answer(200, b"x" * 200_000)
    await client.turn()

    assert client.wire.largest < 500_000
    assert client.statuses == [200] * 4


async def test_a_large_body_is_invited_only_if_it_may_come() -> None:
    client = Client()
    await client.send(
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    )
    assert client.wire.out == b"HTTP/1.1 100 Continue\r\n\r\n"

    refused = Client()
    await refused.send(
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"
    )
    assert refused.statuses == [413]


async def test_a_chunked_body_is_put_together() -> None:
    client = Client()

    await client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send(b'4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n' + GET)

    assert [exchange.body for exchange in client.got] == [b'{"a": 1}', b""]


async def test_two_idempotency_keys_are_no_key() -> None:
    client = Client()

    await client.send(post(b"", fields=b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n"))

    assert client.got[0].key == b"a\0b"


async def test_a_slow_request_is_cut_off() -> None:
    client = Client(Limits(request_seconds=5))
    await client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")

    client.later(4)
    await client.turn()
    assert client.statuses == []

    client.later(6)
    await client.turn()
    assert client.statuses == [408]
    assert client.wire.eof


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    client = Client(Limits(write_seconds=5))
    client.connection.pause_writing()
    assert not client.wire.reading

    client.later(6)

    assert client.wire.aborted


async def test_an_idle_connection_is_ended_and_a_busy_one_is_not() -> None:
    client = Client(Limits(idle_seconds=5))
    await client.send(GET)

    client.later(60)
    assert not client.wire.eof

    client.got[0].answer(200, b"")
    await client.turn()
    client.later(6)
    assert client.wire.eof


async def test_a_client_that_lingers_is_cut_off() -> None:
    client = Client(Limits(linger_seconds=1))
    await client.send(b"nonsense\r\n\r\n")
    assert not client.wire.aborted

    client.later(2)

    assert client.wire.aborted


async def test_reading_stops_while_too_much_is_in_flight() -> None:
    client = Client(Limits(in_flight=4))
    await client.send(GET * 4)
    assert not client.wire.reading

    for exchange in client.got:
        exchange.answer(200, b"")
    await client.turn()

    assert client.wire.reading


async def test_too_many_connections_are_turned_away() -> None:
    client = Client(Limits(connections=1))
    second = Wire()

    Connection(client.server).connection_made(second)
    await client.turn()

    assert list(statuses(second.out)) == [503]


async def test_a_client_may_close_its_half_and_still_read_its_answer() -> None:
    client = Client()
    await client.send(GET)

    assert client.connection.eof_received()
    client.got[0].answer(200, b"late")
    await client.turn()

    assert client.wire.out.endswith(b"late")
    assert client.wire.aborted


async def test_an_error_of_the_handler_is_an_answer() -> None:
    def broken(_: Exchange) -> None:
        raise RuntimeError("our bug")

    server, wire = Server(broken), Wire()
    connection = Connection(server)
    connection.connection_made(wire)

    connection.data_received(GET)
    await asyncio.sleep(0)  # It is served,
    await asyncio.sleep(0)  # and its answer written.

    assert list(statuses(wire.out)) == [500]
    assert b"our bug" not in wire.out


async def test_while_draining_every_answer_says_goodbye() -> None:
    client = Client()
    await client.send(GET * 2)

    client.server.drain()
    for exchange in client.got:
        exchange.answer(200, b"")
    await client.turn()

    assert client.statuses == [200, 200]
    assert client.wire.out.count(b"connection: close") == 1
    assert client.wire.eof


async def test_closing_answers_everything_that_was_accepted() -> None:
    client = Client()
    await client.send(GET * 2)

    closing = asyncio.create_task(client.server.close(patience_seconds=5))
    await asyncio.sleep(0.03)
    assert not client.wire.eof
    for exchange in client.got:
        exchange.answer(200, b"")
    await client.turn()
    client.connection.connection_lost(None)

    assert await closing == 0
    assert client.statuses == [200, 200]


async def test_closing_says_how_many_got_no_answer() -> None:
    client = Client()
    await client.send(GET * 2)

    assert await client.server.close(patience_seconds=0.01) == 2
    assert client.wire.aborted


pieces = st.sampled_from(
    [
        GET,
        post(b"{}"),
        b"GET /a HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
    ]
)


@given(st.lists(pieces | st.binary(max_size=40), max_size=12))
def test_whatever_is_sent_the_server_neither_breaks_nor_forgets(chunks: list[bytes]) -> None:
    async def converse() -> None:
        client = Client()
        for chunk in chunks:
            await client.send(chunk)
        for exchange in client.got:
            exchange.answer(200, b"")
        await client.turn()

        refusals = [status for status in client.statuses if status != 200]
        assert client.statuses.count(200) == len(client.got)
        assert len(refusals) <= 1
        assert bool(refusals) <= client.wire.eof
        client.connection.connection_lost(None)
        assert client.server.buffered == 0
        assert await client.server.close(0) == 0

    asyncio.run(converse())
