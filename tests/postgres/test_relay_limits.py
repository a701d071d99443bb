"""A pod that asks too often: its relay lets as many through as the limit reaches for."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shieldx.sidecar.config import Auth, Burst, Config, RateLimit, ServiceAccount
from shieldx.sidecar.relay.pace import HELD_SECONDS
from shieldx.sidecar.scopes import Scope
from tests.support.api import Response, Service
from tests.support.relay import Relaying

pytestmark = pytest.mark.postgres

CREDITS = 1000
BURST = 50
SPENT = 20  # of the burst, so that nothing may go into debt
REQUESTS = 200


def config(burst: int) -> Config:
    callers = [ServiceAccount("shop", "app", list(Scope))]
    return Config("shop/credits", auth=Auth(callers), rate_limit=RateLimit(Burst(1, burst)))


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[Service]:
    async with Service(dsn, config=config(10_000)) as service:
        async with service.client("shop/app") as client:
            await client.account("a", CREDITS)
        yield service


def limit(service: Service, burst: int) -> None:
    """Change the limit as a changed configuration does; buckets begin full, and gain nothing."""
    service.process.guards.follow(config(burst))
    buckets = service.process.guards.throttle._local
    buckets._full_at.clear()
    buckets._monotonic = lambda: 0.0


def later(relay: Relaying) -> None:
    """Let so much time go by that the relay asks freely again."""
    pace = relay.front._pace
    pace._monotonic = lambda: time.monotonic() + 2 * HELD_SECONDS


async def consume_all(relay: Relaying) -> list[Response]:
    client = relay.client()
    return await relay.together(
        *(
            client.request("POST", "/v1/accounts/a/consume", {"amount": 1}, key=f"k{number}")
            for number in range(REQUESTS)
        )
    )


async def test_a_limit_that_does_not_reach_for_all_reaches_for_the_first(
    service: Service, tmp_path: Path
) -> None:
    limit(service, BURST)
    async with Relaying(service.port, tmp_path) as relay, relay.client() as client:
        for _ in range(SPENT):
            await client.get("/v1/accounts/a")
        answers = await consume_all(relay)
        refused = [one for one in answers if one.status == 429]

        counts = Counter(one.status for one in answers)
        assert counts == {201: BURST - SPENT, 429: REQUESTS - BURST + SPENT}
        assert {one.code for one in refused} == {"rate_limited"}
        assert {one.body["burst"] for one in refused} == {BURST}
        assert all(int(one.fields["retry-after"]) >= 1 for one in refused)

        limit(service, 10_000)
        later(relay)
        again = await consume_all(relay)

    assert {one.status for one in again} == {201}
    replayed = [one.fields.get("idempotency-replayed") == "true" for one in again]
    assert replayed == [one.status == 201 for one in answers]
    async with service.client("shop/app") as client:
        assert (await client.balance("a"))[0] == CREDITS - REQUESTS


async def test_a_limit_that_is_used_up_costs_a_few_calls_and_not_one_a_request(
    service: Service, tmp_path: Path
) -> None:
    limit(service, 1)
    async with Relaying(service.port, tmp_path) as relay, relay.client() as client:
        await client.get("/v1/accounts/a")
        answers = await consume_all(relay)
        calls = relay.front.metrics.calls

    assert {one.status for one in answers} == {429}

    assert calls["together"] < REQUESTS / 10


async def test_what_the_api_would_refuse_is_refused_without_asking_it(
    service: Service, tmp_path: Path
) -> None:
    limit(service, BURST)
    async with Relaying(service.port, tmp_path) as relay, relay.client() as client:
        relay.front._pace._monotonic = lambda: 0.0
        await client.get("/v1/accounts/a")
        first = await consume_all(relay)
        asked, limited = relay.front.metrics.calls.total(), relay.front.metrics.limited
        assert {one.status for one in first} == {201, 429}

        again = await consume_all(relay)
        read = await client.get("/v1/accounts/a")
        balance = await client.get("/v1/accounts/a/balance")
        operations = [{"type": "consume", "account": "a", "amount": 1}]
        assert relay.front.metrics.calls.total() == asked
        batch = await client.post("/v1/batch", {"operations": operations})

        assert {one.status for one in (*again, read, balance)} == {429}
        refused = next(one for one in first if one.status == 429)
        words = refused.body["message"].partition(";")[0]
        assert {one.body["message"].partition(";")[0] for one in again} == {words}
        assert {one.body["burst"] for one in again} == {BURST}
        assert {one.fields["retry-after"] for one in again} == {"1"}
        assert batch.status == 200
        assert batch.body["results"][0]["status"] == 429
        assert relay.front.metrics.limited == limited + REQUESTS + 2
        later(relay)
        assert (await client.get("/v1/accounts/a")).status == 429
        assert relay.front.metrics.calls.total() == asked + 2
