"""Balances through the API of two processes with one Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shieldx.sidecar import wire_answers
from tests.support.api import Client, Service
from tests.support.redis import RedisServer

pytestmark = pytest.mark.postgres


@pytest.fixture
async def clients(dsn: str, redis: RedisServer) -> AsyncIterator[list[Client]]:
    file = redis.url_file()
    async with (
        Service(dsn, redis_url_file=file) as one,
        Service(dsn, redis_url_file=file) as other,
        one.client() as first,
        other.client() as second,
    ):
        yield [first, second]


async def hits(client: Client) -> float:
    lines = (await client.get("/metrics")).payload.decode().splitlines()
    name = 'shieldx_ledger_cached_balances_total{result="hit"} '
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


async def test_each_process_reads_its_own_writes(clients: list[Client]) -> None:
    await clients[0].account("a", 1000)
    spent = 0
    for _ in range(20):
        for client in clients:
            spent += 1
            assert (await client.consume("a", 1)).status == 201
            assert await client.balance("a") == (1000 - spent, 0, 1000 - spent)


async def test_a_cached_balance_looks_like_any_other(clients: list[Client]) -> None:
    await clients[0].account("a", 10)
    fresh = (await clients[0].get("/v1/accounts/a/balance")).body
    async with asyncio.timeout(30):
        while not await hits(clients[1]):
            cached = (await clients[1].get("/v1/accounts/a/balance")).body

    assert cached.keys() == fresh.keys() == set(wire_answers.BalanceAnswer.__struct_fields__)
    assert {**cached, "as_of": ""} == {**fresh, "as_of": ""}


async def test_a_debit_never_asks_the_cache(clients: list[Client]) -> None:
    """The cache of the second process still says 10; the ledger says 0."""
    await clients[0].account("a", 10)
    await clients[1].balance("a")
    assert (await clients[0].consume("a", 10)).status == 201

    refused = await clients[1].consume("a", 1)

    assert (refused.code, refused.body["available"]) == ("insufficient_credits", 0)


async def test_redis_dies_and_nobody_notices(clients: list[Client], redis: RedisServer) -> None:
    await clients[0].account("a", 10)
    assert await clients[0].balance("a") == (10, 0, 10)
    redis.kill()

    for left in (9, 8, 7):
        assert (await clients[0].consume("a", 1)).status == 201
        assert await clients[0].balance("a") == (left, 0, left)
        assert await clients[1].balance("a") == (left, 0, left)


async def test_a_dry_run_is_not_remembered(clients: list[Client]) -> None:
    await clients[0].account("a", 10)
    dry = await clients[0].post("/v1/accounts/a/consume?dry_run=true", {"amount": 4})
    assert dry.status == 201

    assert await clients[0].balance("a") == (10, 0, 10)
