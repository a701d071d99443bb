"""The yardstick: a group-commit server with nothing around it.

No tokens, no limits, no holds, no metadata, no metrics: whatever is queued when the database is
free goes into one call of `post`, and the answers leave after its commit. A key that is used again
is replayed, in the same batch refused.

    python -m tests.bench.prototype DSN PORT
"""

import asyncio
import gc
import sys
from collections import deque
from typing import Final

import asyncpg
import httptools
import msgspec
import uvloop

MOST: Final = 1000
SETTINGS: Final = {"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}
HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
ANSWERS: Final = (
    b'{"state":"posted","seq":%d,"balance":%d}',
    b'{"state":"insufficient","seq":%d,"balance":%d}',
    b'{"state":"refused","seq":%d,"balance":%d}',
    b'{"state":"replayed","seq":%d,"balance":%d}',
    b'{"state":"twice","seq":%d,"balance":%d}',
)


class Transfer(msgspec.Struct, gc=False):
    """One transfer, as it comes."""

    key: str
    debit: int
    credit: int
    amount: int


ONE: Final = msgspec.json.Decoder(Transfer)
MANY: Final = msgspec.json.Decoder(list[Transfer])


class Slot:
    """A place in a connection's line of answers."""

    __slots__ = ("answer", "client", "many", "transfers")

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.answer = b""
        self.many = False
        self.transfers: list[Transfer] = []


class Writer:
    """Stores what has queued, one batch at a time."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.queue: deque[Slot] = deque()
        self.wake = asyncio.Event()
        self._connection = connection

    async def run(self) -> None:
        post = await self._connection.prepare("select * from post($1, $2, $3, $4)")
        while True:
            if not self.queue:
                self.wake.clear()
                await self.wake.wait()
            slots: list[Slot] = []
            batch: list[Transfer] = []
            while self.queue and len(batch) < MOST:
                slot = self.queue.popleft()
                slots.append(slot)
                batch += slot.transfers
            (row,) = await post.fetch(
                [one.key for one in batch],
                [one.debit for one in batch],
                [one.credit for one in batch],
                [one.amount for one in batch],
            )
            _answer(slots, list(zip(*row, strict=True)))


def _answer(slots: list[Slot], outcomes: list[tuple[int, int, int]]) -> None:
    at, clients = 0, dict[Client, None]()
    for slot in slots:
        end = at + len(slot.transfers)
        texts = [ANSWERS[state] % (seq, balance) for state, seq, balance in outcomes[at:end]]
        slot.answer = b"[" + b",".join(texts) + b"]" if slot.many else texts[0]
        clients[slot.client] = None
        at = end
    for client in clients:
        client.flush()


class Client(asyncio.Protocol):
    """One connection; answers leave in the order of their requests."""

    __slots__ = ("body", "line", "parser", "transport", "url", "writer")

    transport: asyncio.Transport

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.parser = httptools.HttpRequestParser(self)
        self.line: deque[Slot] = deque()
        self.body = b""
        self.url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a listening socket's is one

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        slot = Slot(self)
        slot.many = self.url == b"/v1/batch"
        slot.transfers = MANY.decode(self.body) if slot.many else [ONE.decode(self.body)]
        self.body = b""
        self.line.append(slot)
        self.writer.queue.append(slot)
        self.writer.wake.set()

    def flush(self) -> None:
        out: list[bytes] = []
        while self.line and self.line[0].answer:
            answer = self.line.popleft().answer
            out.append(HEAD % (len(answer), answer))
        if out and not self.transport.is_closing():
            self.transport.write(b"".join(out))


async def main(dsn: str, port: int) -> None:
    connection = await asyncpg.connect(dsn, server_settings=SETTINGS)
    writer = Writer(connection)
    working = asyncio.create_task(writer.run())
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    server = await asyncio.get_running_loop().create_server(
        lambda: Client(writer), "127.0.0.1", port
    )
    print(f"prototype on {server.sockets[0].getsockname()[1]}", flush=True)
    await working


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
