"""Many who want the same at once, at two processes: one gets it, and the others are told so."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from shieldx.ledger.verify import verify
from tests.support.api import Client, Response, Service

pytestmark = pytest.mark.postgres

RACERS = 6


@pytest.fixture
async def clients(dsn: str) -> AsyncIterator[Sequence[Client]]:
    """Connections to two processes, by turns; account a has 1000 credits, b has 1000."""
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(Service(dsn)) for _ in range(2)]
        made = [
            await stack.enter_async_context(services[number % 2].client())
            for number in range(RACERS)
        ]
        for account in ("a", "b"):
            await made[0].account(account, 1000)
        yield made


async def race(
    clients: Sequence[Client], ask: Callable[[Client], Awaitable[Response]]
) -> Counter[str]:
    """Let everybody ask at once; return how often each code was told."""
    answers = await asyncio.gather(*(ask(client) for client in clients))
    return Counter("done" if one.status in {200, 201} else one.code for one in answers)


async def test_of_many_commits_of_one_hold_one_wins(clients: Sequence[Client], dsn: str) -> None:
    hold = (await clients[0].post("/v1/holds", {"account": "a", "amount": 9, "to": "b"})).body

    codes = await race(clients, lambda client: client.post(f"/v1/holds/{hold['id']}/commit"))

    assert codes == {"done": 1, "hold_already_committed": RACERS - 1}
    assert await clients[0].balance("a") == (991, 0, 991)
    assert (await verify(dsn)).problem is None


async def test_a_hold_is_committed_or_voided_and_never_both(
    clients: Sequence[Client], dsn: str
) -> None:
    hold = (await clients[0].post("/v1/holds", {"account": "a", "amount": 9, "to": "b"})).body
    verbs = {client: ("commit", "void")[number % 2] for number, client in enumerate(clients)}

    codes = await race(
        clients, lambda client: client.post(f"/v1/holds/{hold['id']}/{verbs[client]}")
    )

    state = (await clients[0].get(f"/v1/holds/{hold['id']}")).body["state"]
    assert codes == {"done": 1, f"hold_already_{state}": RACERS - 1}
    assert (await clients[0].balance("a"))[0] == (991 if state == "committed" else 1000)
    assert (await verify(dsn)).problem is None


async def test_of_many_reversals_of_one_transfer_one_wins(
    clients: Sequence[Client], dsn: str
) -> None:
    paid = (await clients[0].consume("a", 30)).body["id"]

    codes = await race(clients, lambda client: client.post(f"/v1/transfers/{paid}/reverse"))

    assert codes == {"done": 1, "transfer_already_reversed": RACERS - 1}
    assert await clients[0].balance("a") == (1000, 0, 1000)
    assert (await verify(dsn)).problem is None


async def test_of_many_who_void_a_grant_one_wins(clients: Sequence[Client], dsn: str) -> None:
    grant = (await clients[0].post("/v1/accounts/a/grants", {"amount": 7})).body["id"]

    codes = await race(
        clients, lambda client: client.call("DELETE", f"/v1/accounts/a/grants/{grant}")
    )

    assert codes == {"done": 1, "grant_already_voided": RACERS - 1}
    assert await clients[0].balance("a") == (1000, 0, 1000)
    assert (await verify(dsn)).problem is None


async def test_the_last_credits_are_spent_once(clients: Sequence[Client], dsn: str) -> None:
    codes = await race(clients, lambda client: client.consume("a", 400))

    assert codes == {"done": 2, "insufficient_credits": RACERS - 2}
    assert await clients[0].balance("a") == (200, 0, 200)
    assert (await verify(dsn)).problem is None


async def test_a_thousand_opposite_transfers_hinder_each_other_in_nothing(
    clients: Sequence[Client], dsn: str
) -> None:
    there = [{"type": "transfer", "debit": "a", "credit": "b", "amount": 1}] * 50
    back = [{"type": "transfer", "debit": "b", "credit": "a", "amount": 1}] * 50

    async def ask(number: int) -> list[str]:
        client = clients[number]
        codes: list[str] = []
        for _ in range(500 // 50):
            operations = back if number else there
            answer = await client.post("/v1/batch", {"operations": operations})
            codes += [one["code"] for one in answer.body["results"]]
        return codes

    codes = await asyncio.gather(ask(0), ask(1))

    assert Counter(code for some in codes for code in some) == {"created": 1000}
    for account in ("a", "b"):
        assert await clients[0].balance(account) == (1000, 0, 1000)
    assert (await verify(dsn)).problem is None
