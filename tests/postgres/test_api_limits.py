"""Rate limits, as callers meet them: who is refused, for how long, and what it costs."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shieldx.sidecar.config import Auth, Burst, Config, RateLimit, ServiceAccount
from shieldx.sidecar.scopes import Scope
from tests.support.api import Client, Service

pytestmark = pytest.mark.postgres

# So slow that nothing is gained while a test runs.
MINUTELY = 1


def config(*, client: int = 10_000, account: int = 10_000) -> Config:
    entries = [
        ServiceAccount("shop", "checkout", list(Scope)),
        ServiceAccount("shop", "other", list(Scope)),
        ServiceAccount("shop", "limited", [Scope.READ, Scope.WRITE], ["mine/"]),
    ]
    limits = RateLimit(Burst(MINUTELY, client), Burst(MINUTELY, account))
    return Config(ledger="test/credits", auth=Auth(entries), rate_limit=limits)


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[Service]:
    async with Service(dsn, config=config()) as service:
        async with service.client("shop/checkout") as client:
            for account in ("a", "b", "mine/a"):
                await client.account(account, 1000)
        yield service


def limit(service: Service, *, client: int = 10_000, account: int = 10_000) -> None:
    """Change the limits as a changed configuration does; buckets begin full."""
    service.process.guards.follow(config(client=client, account=account))
    service.process.guards.throttle._local._full_at.clear()


async def statuses(client: Client, account: str, times: int) -> list[int]:
    return [(await client.consume(account, 1)).status for _ in range(times)]


async def test_a_caller_has_its_burst_and_then_waits(service: Service) -> None:
    limit(service, client=3)
    async with service.client("shop/checkout") as client, service.client("shop/other") as other:
        assert await statuses(client, "a", 4) == [201, 201, 201, 429]

        refused = await client.consume("a", 1)

        assert refused.fields["retry-after"] == "1"
        assert (refused.code, refused.body["limit"]) == ("rate_limited", "client")
        assert (refused.body["requests_per_second"], refused.body["burst"]) == (1.0, 3)
        assert (await client.get("/v1/accounts/a/balance")).status == 429
        assert (await other.consume("a", 1)).status == 201
        assert (await client.get("/health")).status == 200


async def test_a_refusal_does_not_burn_the_key(service: Service) -> None:
    limit(service, client=1)
    async with service.client("shop/checkout") as client:
        await client.consume("a", 1)
        assert (await client.consume("a", 5, "the-key")).status == 429

        limit(service)

        assert (await client.consume("a", 5, "the-key")).status == 201
        assert await client.balance("a") == (994, 0, 994)


async def test_an_account_has_a_bucket_that_all_callers_share(service: Service) -> None:
    limit(service, account=2)
    async with service.client("shop/checkout") as client, service.client("shop/other") as other:
        assert [(await one.consume("a", 1)).status for one in (client, other, client, other)] == [
            201,
            201,
            429,
            429,
        ]

        refused = await client.get("/v1/accounts/a/balance")

        assert (refused.body["limit"], refused.body["account"]) == ("account", "a")
        assert (await client.consume("b", 1)).status == 201


async def test_what_everybody_pays_to_has_no_bucket(service: Service) -> None:
    limit(service, account=1)
    async with service.client("shop/checkout") as client:
        paid = [(await client.consume(account, 1)).status for account in ("a", "b", "mine/a")]

        assert paid == [201, 201, 201]
        revenue = [await client.get("/v1/accounts/system%2Frevenue/balance") for _ in range(3)]
        assert {one.status for one in revenue} == {200}


async def test_what_is_reserved_can_be_settled_all_the_same(service: Service) -> None:
    limit(service, account=1)
    async with service.client("shop/checkout") as client:
        hold = await client.post("/v1/holds", {"account": "a", "amount": 5})
        assert (await client.consume("a", 1)).status == 429

        committed = await client.post(f"/v1/holds/{hold.body['id']}/commit")

        assert committed.status == 201


async def test_a_limit_does_not_tell_of_accounts_that_are_hidden(service: Service) -> None:
    limit(service, account=1)
    async with service.client("shop/checkout") as client, service.client("shop/limited") as other:
        await client.consume("a", 1)
        assert (await client.consume("a", 1)).status == 429

        hidden = [await other.consume("a", 1) for _ in range(3)]

        assert {one.code for one in hidden} == {"account_not_found"}


async def test_of_a_plain_batch_as_much_is_done_as_there_are_tokens_for(service: Service) -> None:
    limit(service, client=5)
    operations = [{"type": "consume", "account": "a", "amount": 1}] * 4
    async with service.client("shop/checkout") as client:
        assert await statuses(client, "a", 2) == [201, 201]

        answer = await client.post("/v1/batch", {"operations": operations}, "k")

        assert (answer.status, answer.fields.get("retry-after")) == (200, None)
        results = answer.body["results"]
        assert [one["status"] for one in results] == [201, 201, 201, 429]
        assert (results[3]["code"], results[3]["limit"]) == ("rate_limited", "client")
        assert (results[3]["requests_per_second"], results[3]["burst"]) == (1.0, 5)
        assert await statuses(client, "a", 1) == [429]

        limit(service)
        again = await client.post("/v1/batch", {"operations": operations}, "k")

        assert again.fields["idempotency-replayed-operations"] == "0,1,2"
        assert again.body["results"][:3] == results[:3]
        assert again.body["results"][3]["status"] == 201
        assert await client.balance("a") == (994, 0, 994)


@pytest.mark.parametrize("count", [5, 8])
async def test_a_plain_batch_that_is_sent_again_when_it_was_told_gets_through(
    service: Service, count: int
) -> None:
    now = stopped_clock(service)
    limit(service, client=5)
    operations = [{"type": "consume", "account": one, "amount": 1} for one in "abababab"][:count]
    async with service.client("shop/checkout") as client:
        assert await statuses(client, "a", 2) == [201, 201]
        sent = {"operations": operations}

        answer = await client.post("/v1/batch", sent, "k")
        results = answer.body["results"]
        waits = [one["retry_after_seconds"] for one in results if one["status"] == 429]

        assert waits == [4, 5, 5, 5, 5][: count - 3]
        assert ("8 at once take a full bucket" in results[-1]["message"]) == (count == 8)
        now.append(now[-1] + waits[-1] - 1)
        assert not await all_done(client, sent)
        now.append(now[-1] + waits[-1])
        assert await all_done(client, sent)


async def all_done(client: Client, batch: dict[str, Any]) -> bool:
    answer = await client.post("/v1/batch", batch, "k")
    return {one["status"] for one in answer.body["results"]} == {201}


def stopped_clock(service: Service) -> list[float]:
    """Let the buckets go by the last entry of the list."""
    now = [time.monotonic() + 1000.0]
    service.process.guards.throttle._local._monotonic = lambda: now[-1]
    return now


async def test_a_batch_above_the_burst_is_done_and_paid_for_later(service: Service) -> None:
    limit(service, client=5)
    operations = [{"type": "consume", "account": "a", "amount": 1}] * 100
    async with service.client("shop/checkout") as client:
        assert (await client.post("/v1/batch", {"operations": operations})).status == 200

        refused = await client.consume("a", 1)

        assert int(refused.fields["retry-after"]) in range(90, 97)


async def test_a_busy_account_of_a_plain_batch_harms_only_itself(service: Service) -> None:
    limit(service, account=2)
    operations = [{"type": "consume", "account": one, "amount": 1} for one in "abaab"]
    async with service.client("shop/checkout") as client:
        await client.consume("a", 1)

        answer = await client.post("/v1/batch", {"operations": operations}, "k")

        results = answer.body["results"]
        assert [one["status"] for one in results] == [201, 201, 429, 429, 201]
        assert (results[2]["limit"], results[2]["account"]) == ("account", "a")
        limit(service)
        again = await client.post("/v1/batch", {"operations": operations}, "k")
        assert {one["status"] for one in again.body["results"]} == {201}
        assert [await client.balance(one) for one in "ab"] == [(996, 0, 996), (998, 0, 998)]


async def test_a_busy_account_takes_none_of_its_callers_tokens(service: Service) -> None:
    limit(service, client=6, account=2)
    operations = [{"type": "consume", "account": one, "amount": 1} for one in "aaabb"]
    async with service.client("shop/checkout") as client:
        assert await statuses(client, "a", 3) == [201, 201, 429]

        answer = await client.post("/v1/batch", {"operations": operations})

        assert [one["status"] for one in answer.body["results"]] == [429, 429, 429, 201, 201]
        assert await statuses(client, "mine/a", 3) == [201, 201, 429]


async def test_what_has_no_shape_costs_nothing(service: Service) -> None:
    limit(service, client=3)
    wrong = {"type": "consume", "account": "a"}
    good = {"type": "consume", "account": "a", "amount": 1}
    async with service.client("shop/checkout") as client:
        await client.consume("a", 1)
        for operations, expected in (
            ([wrong, wrong, wrong], [400, 400, 400]),
            ([wrong, good, wrong, good, good], [400, 201, 400, 201, 429]),
            ([wrong, wrong], [400, 400]),
        ):
            answer = await client.post("/v1/batch", {"operations": operations})

            assert [one["status"] for one in answer.body["results"]] == expected


async def test_an_atomic_batch_is_refused_whole(service: Service) -> None:
    limit(service, account=2)
    operations = [{"type": "consume", "account": one, "amount": 1} for one in "ab"]
    async with service.client("shop/checkout") as client:
        assert await statuses(client, "a", 2) == [201, 201]

        answer = await client.post("/v1/batch", {"atomic": True, "operations": operations})

        assert (answer.status, answer.code) == (429, "rate_limited")
        assert await statuses(client, "b", 3) == [201, 201, 429]


async def test_an_atomic_batch_above_the_burst_is_told_to_wait_for_a_full_bucket(
    service: Service,
) -> None:
    now = stopped_clock(service)
    limit(service, client=3)
    operations = [{"type": "consume", "account": "a", "amount": 1}] * 4
    batch = {"atomic": True, "operations": operations}
    async with service.client("shop/checkout") as client:
        await client.consume("a", 1)

        answer = await client.post("/v1/batch", batch, "k")

        assert (answer.status, answer.fields["retry-after"]) == (429, "1")
        assert "4 at once take a full bucket" in answer.body["message"]
        now.append(now[-1] + 1)
        assert (await client.post("/v1/batch", batch, "k")).status == 201


async def test_refusals_are_counted(service: Service) -> None:
    limit(service, client=2)
    async with service.client("shop/checkout") as client:
        await statuses(client, "a", 4)

        metrics = (await client.get("/metrics")).payload.decode()

    assert 'shieldx_ledger_rate_limited_total{limit="client"} 2.0' in metrics
    assert 'shieldx_ledger_refusals_total{code="rate_limited"} 2.0' in metrics
