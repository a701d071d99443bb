"""What a process remembers of its shard: kept while it holds, never believed when it may not."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from shieldx.ledger.batcher import Job, perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import ISSUANCE, OpenAccount, Transfer
from shieldx.ledger.records import Answer, Code

pytestmark = pytest.mark.postgres

REFILL = Transfer(debit=ISSUANCE, credit="a", amount=5)


@pytest.fixture
async def pair(dsn: str) -> AsyncIterator[tuple[Ledger, Ledger]]:
    """Two processes on one shard, as far as Postgres can tell."""
    one, other = Ledger.open(dsn, "s0"), Ledger.open(dsn, "s0")
    await one.migrate()
    for ledger in (one, other):
        await ledger.start()
    await perform(one.batcher, "me", "open", OpenAccount(id="a"))
    yield one, other
    for ledger in (one, other):
        await ledger.close()


async def rehearsed(ledger: Ledger) -> Answer:
    """Ask for a debit of 5 that is not to be done."""
    told: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
    operation = Transfer(debit="a", credit="system/revenue", amount=5)
    ledger.submit(Job("me", (operation,), ("dry",), atomic=False, done=told.set_result, dry=True))
    return (await told)[0]


async def test_keys_of_old_are_replayed_without_forgetting_the_rest(
    pair: tuple[Ledger, Ledger],
) -> None:
    one, other = pair
    for number in range(5):
        await perform(one.batcher, "me", f"k{number}", REFILL)
    await perform(other.batcher, "me", "new", REFILL)
    remembered = other.batcher._state

    answers = [await perform(other.batcher, "me", f"k{number}", REFILL) for number in range(5)]

    assert all(answer.replayed and answer.code is Code.CREATED for answer in answers)
    assert other.batcher._state is remembered
    assert remembered.accounts["a"] is not None
    assert remembered.accounts["a"].balance == 30


async def test_a_dry_run_sees_what_another_process_did(pair: tuple[Ledger, Ledger]) -> None:
    one, other = pair
    assert (await rehearsed(other)).code is Code.INSUFFICIENT_CREDITS

    await perform(one.batcher, "me", "refill", REFILL)

    assert (await rehearsed(other)).code is Code.CREATED
