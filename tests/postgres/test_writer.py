"""One writer and relays to it: whatever becomes of it, writes go on and the books are exact."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import asyncpg
import pytest

from shieldx.ledger.verify import verify
from tests.support.api import Client, fresh_key
from tests.support.load import Load
from tests.support.proxy import proxied
from tests.support.trio import Server, Trio, trio

pytestmark = pytest.mark.postgres

CREDITS = 1_000_000
# A second is promised, and six when the writer is cut off; who waits for the writer itself to be
# given up waits ten and more. Between them is room for a machine that is busy with other things.
GAP_SECONDS = 6


@pytest.fixture
async def servers(dsn: str, tmp_path: Path) -> AsyncIterator[Trio]:
    async with trio(dsn, tmp_path) as servers:
        async with Client(servers.servers[0].port) as client:
            await client.account("a", CREDITS)
        yield servers


class Loads:
    """Two clients on each process; and for how long, at most, none behind a relay was answered."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.all = [Load(lambda port=s.port: port, "a", clients=2) for s in servers]  # type: ignore[misc]
        self.longest_gap = 0.0

    @property
    def at_the_writer(self) -> Load:
        return self.all[0]

    @property
    def behind_relays(self) -> list[Load]:
        return self.all[1:]

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for load in self.all:
            await self._stack.enter_async_context(load)
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await self._stack.aclose()

    async def _watch(self) -> None:
        seen, since = 0, time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now, answered = time.monotonic(), sum(len(one.answers) for one in self.behind_relays)
            self.longest_gap = max(self.longest_gap, now - since)
            if answered > seen:
                seen, since = answered, now

    async def more(self, count: int) -> None:
        """Wait until each client behind a relay has had so many more answers."""
        await asyncio.gather(*(one.until(len(one.answers) + count) for one in self.behind_relays))

    async def settled(self, port: int) -> int:
        """Retry by key what has no answer, at a process that lives; return how many were done."""
        for load in self.all:
            load.port = lambda: port
            await load.settle()
        assert {status for load in self.all for status in load.statuses} == {201}
        return sum(len(load.answers) for load in self.all)


async def exact(dsn: str, port: int, done: int) -> None:
    """Nothing is lost, nothing doubled, and the chain is clean."""
    async with Client(port) as client:
        assert (await client.balance("a"))[0] == CREDITS - done
    report = await verify(dsn)
    assert report.problem is None
    assert report.transfers == done + 1


async def epoch(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    found = await connection.fetchval("select epoch from current_writer()")
    await connection.close()
    return int(found or 0)


async def another(servers: Trio, than: Server) -> Server:
    """Wait until another process is the writer."""
    async with asyncio.timeout(20):
        while (found := await servers.writer()) in {None, than}:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.05)
    assert found is not None
    return found


async def test_writes_at_every_process_are_decided_by_one(servers: Trio, dsn: str) -> None:
    async with Loads(servers.servers) as loads:
        await loads.more(50)
        for load in loads.all:
            await load.stop()
        done = await loads.settled(servers.servers[1].port)

    assert await epoch(dsn) == 1
    for server, role in zip(servers.servers, ("writer", "relay", "relay"), strict=True):
        async with Client(server.port) as client:
            told = (await client.get("/metrics")).payload.decode()
        assert f'shieldx_ledger_role{{role="{role}"}} 1.0' in told
        relayed = "shieldx_ledger_relayed_operations_total 0.0" not in told
        assert relayed is (role == "relay")
    await exact(dsn, servers.servers[1].port, done)


async def test_a_relayed_answer_is_the_writers_to_the_byte(servers: Trio) -> None:
    key = fresh_key()
    async with (
        Client(servers.servers[0].port) as writer,
        Client(servers.servers[1].port) as relay,
    ):
        first = await relay.consume("a", 7, key)
        again = await writer.consume("a", 7, key)
        refused = await relay.consume("a", CREDITS)
        same = await writer.consume("nobody", 1)
        mine = await relay.consume("nobody", 1)

    assert (first.status, again.payload) == (201, first.payload)
    assert again.fields["idempotency-replayed"] == "true"
    assert (refused.status, refused.body["available"]) == (402, CREDITS - 7)
    assert (same.status, mine.payload) == (404, same.payload)


async def test_a_batch_goes_through_a_relay_whole(servers: Trio) -> None:
    operations = [{"type": "consume", "account": "a", "amount": 1}] * 999
    bad = {"type": "consume", "account": "a", "amount": CREDITS}
    async with Client(servers.servers[1].port) as client:
        plain = await client.post("/v1/batch", {"operations": [*operations, bad]})
        atomic = await client.post("/v1/batch", {"operations": [*operations, bad], "atomic": True})
        balance = (await client.balance("a"))[0]

    assert [one["status"] for one in plain.body["results"]] == [201] * 999 + [402]
    assert atomic.status == 402
    assert balance == CREDITS - 999


async def test_a_killed_writer_is_an_incident_of_nobody_behind_a_relay(
    servers: Trio, dsn: str
) -> None:
    first = servers.servers[0]
    async with Loads(servers.servers) as loads:
        await loads.more(30)
        first.process.kill()
        await another(servers, first)
        await loads.more(30)
        loads.at_the_writer.port = lambda: servers.servers[1].port
        for load in loads.all:
            await load.stop()
        assert all(set(load.statuses) == {201} for load in loads.behind_relays)
        assert not any(load.unanswered for load in loads.behind_relays)
        done = await loads.settled(servers.servers[1].port)

    assert loads.longest_gap < GAP_SECONDS
    await exact(dsn, servers.servers[1].port, done)


async def test_a_stopped_writer_is_replaced_and_its_old_state_is_refused(
    servers: Trio, dsn: str
) -> None:
    first = servers.servers[0]
    async with Loads(servers.servers) as loads:
        await loads.more(30)
        first.process.send_signal(signal.SIGSTOP)
        await another(servers, first)
        await loads.more(30)
        first.process.send_signal(signal.SIGCONT)
        # Its own clients have waited all the time, and are answered: it goes on from where it was.
        before = len(loads.at_the_writer.answers)
        await loads.at_the_writer.until(before + 30)
        for load in loads.all:
            await load.stop()
        assert all(set(load.statuses) == {201} for load in loads.behind_relays)
        done = await loads.settled(first.port)

    assert loads.longest_gap < GAP_SECONDS
    assert await servers.writer() is not first
    await exact(dsn, first.port, done)


async def test_a_writer_that_is_cut_off_from_postgres_is_replaced(dsn: str, tmp_path: Path) -> None:
    async with proxied(dsn, tmp_path) as (own, proxy), trio(dsn, tmp_path, own) as servers:
        first, second = servers.servers[:2]
        async with Client(first.port) as client:
            await client.account("a", CREDITS)
        async with Loads(servers.servers) as loads:
            await loads.more(30)
            proxy.through.clear()
            await another(servers, first)
            await loads.more(30)
            loads.at_the_writer.port = lambda: second.port
            for load in loads.all:
                await load.stop()
            assert all(set(load.statuses) == {201} for load in loads.behind_relays)
            done = await loads.settled(second.port)
        proxy.through.set()

        assert loads.longest_gap < GAP_SECONDS
        await exact(dsn, second.port, done)
        async with Client(first.port) as client:
            async with asyncio.timeout(20):
                while (await client.consume("a", 1)).status != 201:  # noqa: ASYNC110 - an answer
                    await asyncio.sleep(0.1)
        await exact(dsn, second.port, done + 1)


async def test_a_writer_that_leaves_in_peace_hands_over(servers: Trio, dsn: str) -> None:
    first = servers.servers[0]
    async with Loads(servers.servers) as loads:
        await loads.more(20)
        loads.at_the_writer.port = lambda: servers.servers[1].port
        first.process.send_signal(signal.SIGTERM)
        found = await another(servers, first)
        await loads.more(20)
        for load in loads.all:
            await load.stop()
        done = await loads.settled(servers.servers[1].port)

    assert found in servers.servers[1:]
    assert not any(load.unanswered for load in loads.all)
    await exact(dsn, servers.servers[1].port, done)
