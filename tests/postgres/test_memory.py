"""What a process remembers of its shard: kept while it holds, never believed when it may not."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest

from shieldx.ledger.batcher import perform
from shieldx.ledger.jobs import Job
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import ISSUANCE, OpenAccount, Reverse, Transfer
from shieldx.ledger.postgres import Shard
from shieldx.ledger.recent import Recent
from shieldx.ledger.records import Answer, Code, State
from shieldx.ledger.verify import verify
from tests.postgres.test_engine import drawn
from tests.support.book import Book

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


@pytest.fixture
async def forgetful(dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    """A process that keeps nothing of a batch once the next one has been sent, with account a."""
    monkeypatch.setattr("shieldx.ledger.batcher.Recent", partial(Recent, answers=0, holds=0))
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    await ledger.start()
    await perform(ledger.batcher, "me", "open", OpenAccount(id="a"))
    yield ledger
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


async def test_who_was_overtaken_knows_what_the_database_says(dsn: str) -> None:
    """After every catching up, whatever is still remembered is as it would be read now."""
    seed = random.randrange(2**32)
    rng, book = random.Random(seed), Book()
    one, other = Ledger.open(dsn, "s0"), Ledger.open(dsn, "s0")
    await one.migrate()
    for ledger in (one, other):
        await ledger.start()
    names = ("a", "b", "c", "bystander")
    book.open(*names)
    for name in names:
        await perform(one.batcher, "me", f"open-{name}", OpenAccount(id=name))
    kept = 0

    for step in range(60):
        for _ in range(rng.randint(1, 4)):
            operation, key = drawn(rng, book), f"key-{rng.randrange(100)}"
            book.ask(operation, key)
            await perform(other.batcher, "me", key, operation)
        remembered = one.batcher._state
        operation, key = drawn(rng, book), f"new-{step}"  # A known key would ask for nothing.
        expected, answer = (
            book.ask(operation, key),
            await perform(one.batcher, "me", key, operation),
        )
        assert answer.code == expected.code, (seed, step)
        state = one.batcher._state
        kept += state is remembered and "bystander" in state.accounts
        assert differing(state, await read_again(dsn, state)) == [], (seed, step)

    assert kept == 60, seed  # All that time nobody had to begin anew.
    for ledger in (one, other):
        await ledger.close()
    assert (await verify(dsn)).problem is None


async def test_who_remembers_little_answers_like_one_who_remembers_all(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shieldx.ledger.batcher.Recent", partial(Recent, answers=2, holds=1))
    seed = random.randrange(2**32)
    rng, book = random.Random(seed), Book()
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    await ledger.start()
    book.open("a", "b", "c")
    for name in ("a", "b", "c"):
        await perform(ledger.batcher, "me", f"open-{name}", OpenAccount(id=name))
    remembered = ledger.batcher._state

    for step in range(200):
        operation, key = drawn(rng, book), f"key-{rng.randrange(80)}"
        expected = book.ask(operation, key)
        answer = await perform(ledger.batcher, "me", key, operation)
        assert (answer.code, answer.replayed) == (expected.code, expected.replayed), (seed, step)

    state = ledger.batcher._state
    assert state is remembered, seed  # It never began anew.
    assert {"a", "b", "c"} <= state.accounts.keys(), seed
    assert len(state.posted) < book.state.head.seq, seed  # What is asked for is read again.
    assert differing(state, await read_again(dsn, state)) == [], seed
    await ledger.close()
    assert (await verify(dsn)).problem is None


async def test_whoever_retries_later_than_answers_are_kept_makes_no_batch_fail(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shieldx.ledger.batcher.Recent", partial(Recent, answers=0))
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    await ledger.start()
    await perform(ledger.batcher, "me", "open", OpenAccount(id="a"))
    first = await perform(ledger.batcher, "me", "old", REFILL)
    await perform(ledger.batcher, "me", "newer", REFILL)
    assert ("me", "old") not in ledger.batcher._state.keys

    again = await perform(ledger.batcher, "me", "old", REFILL)

    assert (again.code, again.replayed, again.receipt) == (first.code, True, first.receipt)
    assert again.body == first.body
    # Whom the database had to tell looks there for every key, for some time.
    assert ledger.batcher._wary == 0
    await ledger.close()


async def read_again(dsn: str, state: State) -> State:
    """Return what the database says of everything that `state` knows."""
    shard, fresh = await Shard.open(dsn, "s0"), State("s0")
    await shard.load(
        fresh,
        accounts=state.accounts.keys(),
        grants=state.lots.keys(),
        holds=state.holds.keys(),
        transfers=state.posted.keys(),
        references=state.references.keys(),
        keys=state.keys.keys(),
        due=(),
        now=0,
    )
    await shard.close()
    return fresh


def differing(state: State, fresh: State) -> list[tuple[str, object]]:
    """Return what of `state` is not so in `fresh`."""
    wrong: list[tuple[str, object]] = [] if state.head == fresh.head else [("head", state.head)]
    for table in ("accounts", "lots", "purses", "holds", "posted", "keys", "references"):
        known, true = getattr(state, table), getattr(fresh, table)
        wrong += [(table, name) for name in known if known[name] != true.get(name, [])]
    return wrong


async def test_nothing_is_forgotten_between_what_is_needed_and_what_is_decided(
    forgetful: Ledger,
) -> None:
    """A job may stand on what the batch before it brought, and need more that must be read."""
    for number in range(1, 6):
        refill = perform(forgetful.batcher, "me", f"refill-{number}", REFILL)
        undone: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        both = (Reverse(transfer=f"tx_s0_{2 * number - 1}"), OpenAccount(id=f"new-{number}"))
        job = Job("me", both, (f"both-{number}",), atomic=True, done=undone.set_result)

        async def soon(job: Job = job) -> None:
            forgetful.batcher.submit(job)

        await asyncio.gather(refill, soon())

        assert [answer.code for answer in await undone] == [Code.CREATED] * 2


async def test_what_is_rehearsed_beside_a_write_is_not_forgotten_meanwhile(
    forgetful: Ledger,
) -> None:
    await perform(forgetful.batcher, "me", "refill", REFILL)
    told: list[asyncio.Future[Sequence[Answer]]] = [
        asyncio.get_running_loop().create_future() for _ in range(2)
    ]

    reverse = (Reverse(transfer="tx_s0_1"),)
    forgetful.batcher.submit(Job("me", (REFILL,), ("more",), done=told[0].set_result))
    forgetful.batcher.submit(Job("me", reverse, ("dry",), done=told[1].set_result, dry=True))

    ((written,), (rehearsed,)) = await asyncio.gather(*told)
    assert (written.code, rehearsed.code) == (Code.CREATED, Code.CREATED)
    assert not written.replayed  # A batch that fails is done in halves, and again.
