"""Postgres goes away and comes back, and the breakers before it: quick words, none false."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.api import Client, Service, fresh_key
from tests.support.proxy import Proxy, proxied

pytestmark = pytest.mark.postgres


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[tuple[str, Proxy]]:
    with tempfile.TemporaryDirectory() as folder:
        async with proxied(dsn, Path(folder)) as made:
            yield made


async def states(client: Client) -> dict[str, float]:
    """Return the breakers' states by name."""
    lines = (await client.get("/metrics")).payload.decode().splitlines()
    pairs = [
        line.removeprefix('shieldx_breaker_state{breaker="').split('"} ')
        for line in lines
        if line.startswith("shieldx_breaker_state{")
    ]
    return {name: float(level) for name, level in pairs}


async def test_breakers_open_while_postgres_is_away_and_close_when_it_is_back(
    proxy: tuple[str, Proxy],
) -> None:
    dsn, door = proxy
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", 100)
        assert await states(client) == {"postgres_writes": 0.0, "postgres_reads": 0.0}
        door.shut()
        keys = {fresh_key(): 0 for _ in range(20)}

        for key in keys:
            keys[key] = (answer := await client.consume("a", 1, key)).status
            assert answer.code in {"shard_unavailable", "outcome_unknown"}
            assert answer.fields["retry-after"] == "1"
            assert (await client.get("/v1/accounts/a/balance")).code == "shard_unavailable"

        assert set((await states(client)).values()) == {2.0}
        door.open()
        async with asyncio.timeout(30):
            while set((await states(client)).values()) != {0.0}:
                await client.get("/v1/accounts/a/balance")
                key = next(iter(keys))
                keys[key] = (await client.consume("a", 1, key)).status
                await asyncio.sleep(0.05)
            for key in keys:
                assert (await client.consume("a", 1, key)).status == 201
        assert await client.balance("a") == (80, 0, 80)


async def test_an_unknown_outcome_is_said_so_and_opens_nothing(
    proxy: tuple[str, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that loses what is being stored: done or not, only the key can tell."""
    dsn, door = proxy
    monkeypatch.setattr("shieldx.ledger.postgres.COMMAND_SECONDS", 1)
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", 101)
        # Now memory knows both accounts, so that the next thing Postgres is asked is to store.
        assert (await client.consume("a", 1)).status == 201
        door.through.clear()
        lost = await client.consume("a", 1, "lost")
        assert lost.code == "outcome_unknown"
        assert (await states(client))["postgres_writes"] == 0.0
        door.through.set()

        async with asyncio.timeout(30):
            while (again := await client.consume("a", 1, "lost")).status == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

        assert again.status == 201
        assert await client.balance("a") == (99, 0, 99)


async def test_readers_of_a_frozen_postgres_do_not_wait_for_each_other(
    proxy: tuple[str, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, door = proxy
    monkeypatch.setattr("shieldx.ledger.pool.COMMAND_SECONDS", 1)
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", 100)
        await client.get("/v1/accounts/a")
        door.through.clear()

        client.writer.write(client.request("GET", "/v1/accounts/a") * 100)
        answers = [await client.response() for _ in range(100)]

        assert {answer.code for answer in answers} == {"shard_unavailable"}
        assert (await states(client))["postgres_reads"] > 0.0
        door.through.set()
        async with asyncio.timeout(30):
            while (await client.get("/v1/accounts/a")).status != 200:  # noqa: ASYNC110 — as above
                await asyncio.sleep(0.1)
