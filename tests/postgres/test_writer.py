"""One writer and relays to it: what the clients of either see, and that they cannot tell."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.api import Client, fresh_key
from tests.support.takeover import CREDITS, Loads, another, exact
from tests.support.trio import Trio, trio

pytestmark = pytest.mark.postgres


@pytest.fixture
async def servers(dsn: str, tmp_path: Path) -> AsyncIterator[Trio]:
    async with trio(dsn, tmp_path) as servers:
        async with Client(servers.servers[0].port) as client:
            await client.account("a", CREDITS)
        yield servers


async def epoch(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    found = await connection.fetchval("select epoch from current_writer()")
    await connection.close()
    return int(found or 0)


async def test_writes_at_every_process_are_decided_by_one(servers: Trio, dsn: str) -> None:
    async with Loads(servers.servers, dsn) as loads:
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


async def test_a_writer_that_leaves_in_peace_hands_over(servers: Trio, dsn: str) -> None:
    first = servers.servers[0]
    async with Loads(servers.servers, dsn) as loads:
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
