"""Accounts by prefix, history by time, and balances of the past, on a real Postgres."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from shieldx.ledger.batcher import perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import (
    ISSUANCE,
    Commit,
    Grant,
    OpenAccount,
    Operation,
    Reserve,
    Transfer,
    Void,
    VoidGrant,
)
from shieldx.ledger.times import parse_rfc3339, rfc3339
from shieldx.ledger.verify import verify
from shieldx.sidecar.config import Auth, Config, ServiceAccount
from shieldx.sidecar.scopes import Scope
from tests.support.api import Client, Service

pytestmark = pytest.mark.postgres

BY_TIME = "select count(*) from entries where caller = 'system'"
AFTERWARDS = "select count(*) from entries where position > $1 and at <= $2"


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with Service(dsn) as service, service.client() as client:
        yield client


async def listed(client: Client, query: str) -> list[str]:
    """Read all pages of a list of accounts."""
    ids: list[str] = []
    cursor = ""
    while True:
        page = await client.get(f"/v1/accounts?{query}{cursor}")
        assert page.status == 200, page
        ids += [one["id"] for one in page.body["items"]]
        if page.body["next"] is None:
            return ids
        cursor = f"&cursor={quote(page.body['next'])}"


async def test_accounts_are_listed_by_prefix_and_state_in_pages(client: Client) -> None:
    names = [f"shop/{number:02}" for number in range(7)] + ["shop", "shoq", "Shop/1"]
    for name in names:
        await client.account(name)
    await client.call("PATCH", "/v1/accounts/shop%2F03", {"state": "frozen"})

    assert await listed(client, "prefix=shop/&limit=3") == sorted(names[:7])
    assert await listed(client, "prefix=shop&limit=1") == ["shop", *sorted(names[:7])]
    assert await listed(client, "prefix=shop/&state=frozen") == ["shop/03"]
    everything = await listed(client, "limit=4")
    assert everything == sorted([*names, "system/breakage", "system/issuance", "system/revenue"])
    for query, field in (
        ("prefix=%00", "prefix"),
        ("state=lost", "state"),
        ("cursor=%C3%A9", "cursor"),
        ("limit=0", "limit"),
    ):
        refused = await client.get(f"/v1/accounts?{query}")
        assert (refused.status, refused.code) == (400, f"invalid_{field}"), query


async def test_a_caller_lists_its_own_accounts_only(dsn: str) -> None:
    callers = [
        ServiceAccount("ns", "all", list(Scope)),
        ServiceAccount("ns", "some", [Scope.READ], ["a/", "b/1", "b/"]),
    ]
    config = Config(ledger="test/credits", auth=Auth(service_accounts=callers))
    async with Service(dsn, config=config) as service:
        async with service.client("ns/all") as client:
            for name in ("a/1", "a/2", "b/1", "b/2", "c/1"):
                await client.account(name)
        async with service.client("ns/some") as client:
            assert await listed(client, "limit=2") == ["a/1", "a/2", "b/1", "b/2"]
            assert await listed(client, "prefix=b/1") == ["b/1"]
            assert await listed(client, "prefix=c") == []


async def test_history_is_cut_by_time(client: Client) -> None:
    await client.account("a", 100)
    moved = []
    for amount in range(1, 6):
        moved.append((await client.consume("a", amount)).body)
        await asyncio.sleep(0.002)

    async def amounts(query: str) -> list[int]:
        page = await client.get(f"/v1/accounts/a/entries?{query}")
        assert page.status == 200, page
        return [-one["amount"] for one in page.body["items"]]

    assert await amounts(f"from={moved[1]['at']}&to={moved[3]['at']}") == [3, 2]
    assert await amounts(f"from={moved[3]['at']}") == [5, 4]
    assert await amounts(f"to={moved[0]['at']}") == [-100]
    first = await client.get(f"/v1/accounts/a/entries?from={moved[0]['at']}&limit=3")
    rest = await client.get(
        f"/v1/accounts/a/entries?from={moved[0]['at']}&cursor={first.body['next']}"
    )
    assert [-one["amount"] for one in (*first.body["items"], *rest.body["items"])] == [
        5,
        4,
        3,
        2,
        1,
    ]
    for wrong in ("yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z"):
        refused = await client.get(f"/v1/accounts/a/entries?from={wrong}")
        assert (refused.status, refused.code) == (400, "invalid_from")


async def at(client: Client, account: str, when: str) -> tuple[int, int, int] | str:
    found = await client.get(f"/v1/accounts/{account}/balance?at={when}")
    if found.status != 200:
        return found.code
    assert found.body["as_of"] == when
    assert found.body["available"] == found.body["balance"] - found.body["held"]
    return found.body["balance"], found.body["held"], found.body["version"]


async def test_a_balance_of_the_past_counts_holds_that_had_run_out(
    dsn: str, client: Client
) -> None:
    before = rfc3339(time.time_ns() // 1000 - 1_000_000)
    await client.account("a", 10)
    hold = await client.post("/v1/holds", {"account": "a", "amount": 4, "timeout_seconds": 1})
    until = parse_rfc3339(hold.body["expires_at"])
    await asyncio.sleep(1.2)
    unsettled = await at(client, "a", rfc3339(until + 1))
    await client.consume("a", 1)

    assert await at(client, "a", before) == "account_not_found"
    assert await at(client, "a", rfc3339(until - 1)) == (10, 4, 3)
    assert unsettled == await at(client, "a", rfc3339(until)) == (10, 0, 4)
    assert await at(client, "a", rfc3339(time.time_ns() // 1000)) == (9, 0, 5)
    assert await at(client, "a", "2999-01-01T00:00:00Z") == "invalid_at"
    assert await at(client, "system%2Fissuance", before) == (0, 0, 1)
    assert (await verify(dsn)).problem is None


def drawn(rng: random.Random, holds: list[str], grants: list[str]) -> Operation:  # noqa: PLR0911 - one a kind.
    """Draw an operation; half of the holds and grants are over within a second or so."""
    account, other = rng.sample("abc", 2)
    now = time.time_ns() // 1000
    match rng.randrange(8):
        case 0:
            return Transfer(debit=account, credit=other, amount=3)
        case 1 | 2:
            return Reserve(account=account, amount=5, timeout_seconds=rng.choice([1, 60]))
        case 3:
            return Void(hold=rng.choice(holds))
        case 4:
            return Commit(hold=rng.choice(holds), amount=2, final=False)
        case 5:
            return Commit(hold=rng.choice(holds))
        case 6:
            begins = now + rng.choice([0, 400_000, 900_000])
            ends = begins + rng.choice([300_000, 700_000, 60_000_000])
            return Grant(account=account, amount=9, effective_at=begins, expires_at=ends)
        case _:
            return VoidGrant(account=account, grant=rng.choice(grants))


async def test_every_moment_of_a_random_history_is_told_as_it_was(dsn: str) -> None:
    """After each of many batches the answer of then is remembered, and asked for at the end."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    await ledger.start()
    connection = await asyncpg.connect(dsn)
    for name in "abc":
        await perform(ledger.batcher, "me", f"open-{name}", OpenAccount(id=name))
        refill = Transfer(debit=ISSUANCE, credit=name, amount=1000, kind="refill")
        await perform(ledger.batcher, "me", f"refill-{name}", refill)
    holds, grants = ["hold_s0_1"], ["grant_s0_1"]
    told: list[tuple[str, int, int, dict[str, Any]]] = []

    for step in range(120):
        operations = [drawn(rng, holds, grants) for _ in range(rng.randrange(1, 5))]
        for index, operation in enumerate(operations):
            body = (await perform(ledger.batcher, "me", f"{step}-{index}", operation)).body
            holds += [body["id"]] if body.get("state") == "held" else []
            grants += [body["id"]] if body.get("state") in {"pending", "active"} else []
        await asyncio.sleep(0.02)
        position = await connection.fetchval("select position from head")
        for name, balance in (await ledger.reads.balances(["a", "b", "c"])).items():
            told.append((name, balance["as_of"], position, balance))

    checked = set()
    for name, when, position, then in told:
        # A batch's time may lie a little before the clock that a read was told: leave those out.
        if await connection.fetchval(AFTERWARDS, position, when):
            continue
        checked.add(when)
        assert await ledger.history.balance_at(name, when) == then, (name, when, seed)
    assert len(checked) > 60
    assert await connection.fetchval(BY_TIME) > 20
    assert (await verify(dsn)).problem is None
    await connection.close()
    await ledger.close()


@pytest.mark.parametrize(
    "tampering",
    [
        "update figures set balance = balance + 1 where version = 3",
        "update figures set held = held + 1 where version = 3",
        "update figures set version = 4 where version = 3",
        "update figures set account = 'b' where version = 3",
        "update figures set at = at + 1 where version = 3",
        "update figures set at = 1 where at = 0 and account = 'system/revenue'",
        "delete from figures where version = 3",
        "insert into figures select account, at + 1, version, 0, 0 from figures where version = 3",
    ],
)
async def test_verify_names_figures_that_were_tampered_with(dsn: str, tampering: str) -> None:
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", 10)
        await client.post("/v1/holds", {"account": "a", "amount": 4})
    assert (await verify(dsn)).problem is None
    connection = await asyncpg.connect(dsn)

    await connection.execute(tampering)

    assert (await verify(dsn)).problem is not None
    await connection.close()


async def test_the_last_transfer_up_to_a_time_is_found_by_halving(dsn: str) -> None:
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    connection = await asyncpg.connect(dsn)
    times = [10, 20, 20, 20, 35]
    await connection.executemany(
        "insert into transfers (seq, position, at, debit, credit, amount, kind, metadata,"
        " debit_balance, debit_held, debit_version, credit_balance, credit_held, credit_version)"
        " values ($1::bigint, $1, $2, 'a', 'b', 1, 't', '{}', 0, 0, 1, 0, 0, 1)",
        list(enumerate(times, 1)),
    )

    found = [await connection.fetchval("select last_transfer($1)", t) for t in range(8, 40)]

    assert found == [sum(one <= t for one in times) for t in range(8, 40)]
    await connection.close()
    await ledger.close()


def test_times_are_read_with_their_offset_and_written_in_utc() -> None:
    assert rfc3339(parse_rfc3339("2026-01-01T02:00:00.5+02:00")) == "2026-01-01T00:00:00.500000Z"
    now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert rfc3339(parse_rfc3339(now.isoformat())) == "2026-01-02T03:04:05.678901Z"
