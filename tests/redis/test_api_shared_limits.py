"""Two API processes behind one Redis: one limit, and none that fails with it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shieldx.sidecar.config import Auth, Burst, Config, RateLimit, ServiceAccount
from shieldx.sidecar.scopes import Scope
from tests.support.api import Client, Service
from tests.support.redis import RedisServer

pytestmark = pytest.mark.postgres

CONFIG = Config(
    ledger="test/credits",
    auth=Auth([ServiceAccount("shop", "checkout", list(Scope))]),
    rate_limit=RateLimit(Burst(1, 20)),
)


@pytest.fixture
async def services(dsn: str, redis: RedisServer) -> AsyncIterator[list[Service]]:
    file = redis.url_file()
    async with (
        Service(dsn, config=CONFIG, redis_url_file=file) as one,
        Service(dsn, config=CONFIG, redis_url_file=file) as other,
    ):
        yield [one, other]


async def reads(client: Client, times: int) -> list[int]:
    return [(await client.get("/v1/accounts/a/balance")).status for _ in range(times)]


async def breaker(client: Client) -> str:
    lines = (await client.get("/metrics")).payload.decode().splitlines()
    return next(line for line in lines if line.startswith('shieldx_breaker_state{breaker="redis"}'))


async def test_two_processes_grant_one_burst(services: list[Service]) -> None:
    async with (
        services[0].client("shop/checkout") as one,
        services[1].client("shop/checkout") as other,
    ):
        statuses = [*await reads(one, 15), *await reads(other, 15)]

    assert statuses.count(429) in range(8, 11)
    assert set(statuses) == {404, 429}


async def test_two_processes_grant_one_burst_to_plain_batches(services: list[Service]) -> None:
    operations = [{"type": "void", "hold": f"none-{number}"} for number in range(15)]
    async with (
        services[0].client("shop/checkout") as one,
        services[1].client("shop/checkout") as other,
    ):
        answers = [
            await client.post("/v1/batch", {"operations": operations}) for client in (one, other)
        ]

    assert [answer.status for answer in answers] == [200, 200]
    first, second = ([one["status"] for one in answer.body["results"]] for answer in answers)
    assert first == [404] * 15
    done = second.count(404)
    assert done in range(5, 8)
    assert second == [404] * done + [429] * (15 - done)


@pytest.mark.parametrize("harm", ["kill", "freeze"])
async def test_no_request_fails_because_redis_is_away(
    services: list[Service], redis: RedisServer, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services[0].client("shop/checkout") as client:
        assert await reads(client, 2) == [404, 404]
        assert (await breaker(client)).endswith(" 0.0")
        redis.harm(harm, monkeypatch)

        statuses = await reads(client, 30)

        assert set(statuses) == {404, 429}
        assert statuses.count(404) in range(18, 25)
        assert (await breaker(client)).endswith(" 2.0")
        redis.heal(harm, monkeypatch)
        async with asyncio.timeout(30):
            while not (await breaker(client)).endswith(" 0.0"):
                await reads(client, 1)
                await asyncio.sleep(0.05)
