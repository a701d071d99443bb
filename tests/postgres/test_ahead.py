"""The next batch is decided while one is being stored; what it stood on may come to nothing."""

import asyncio
import itertools
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from shieldx.ledger.batcher import Batcher, perform
from shieldx.ledger.jobs import Job
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import ISSUANCE, REVENUE, OpenAccount, Operation, Reserve, Transfer
from shieldx.ledger.records import Answer, Code
from shieldx.ledger.verify import verify
from tests.support.proxy import Fault, Proxy, proxied

pytestmark = pytest.mark.postgres

REFILL = Transfer(debit=ISSUANCE, credit="a", amount=10, kind="refill")
CONSUME = Transfer(debit="a", credit=REVENUE, amount=4, kind="consume")

_numbers = itertools.count()


@pytest.fixture
async def door(dsn: str) -> AsyncIterator[tuple[Batcher, Proxy]]:
    """A batcher that knows account `a`, with nothing in it, behind a proxy."""
    with tempfile.TemporaryDirectory() as folder:
        async with proxied(dsn, Path(folder)) as (through, proxy):
            ledger = Ledger.open(through, "s0")
            await ledger.migrate()
            await ledger.start()
            await perform(ledger.batcher, "me", "open", OpenAccount(id="a"))
            await perform(ledger.batcher, "me", "known", CONSUME)
            yield ledger.batcher, proxy
            await ledger.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what is waited for tells nobody.
            await asyncio.sleep(0.001)


def asked(batcher: Batcher, *operations: Operation) -> list[asyncio.Task[Answer]]:
    """Ask for operations at once, each with a key of its own."""
    return [
        asyncio.create_task(perform(batcher, "me", f"key {next(_numbers)}", operation))
        for operation in operations
    ]


async def on_its_way(batcher: Batcher, proxy: Proxy) -> list[asyncio.Task[Answer]]:
    """Ask for a refill whose batch is sent, and not answered until the proxy lets it through."""
    proxy.through.clear()
    first = asked(batcher, REFILL)
    await until(lambda: batcher._state.head.position == 3)
    return first


def decided(batcher: Batcher) -> int:
    """Return how many jobs of the next batch are decided already."""
    return 0 if batcher._ahead is None else len(batcher._ahead.jobs)


async def stored(dsn: str) -> list[tuple[str, int]]:
    """Return what has been chained since the beginning, with the number of its batch."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "select code, dense_rank() over (order by at) as batch from entries "
        "where position > 2 order by position"
    )
    await connection.close()
    assert (await verify(dsn)).problem is None
    return [(row["code"], row["batch"]) for row in rows]


async def test_what_comes_while_a_batch_is_stored_is_decided_meanwhile(
    door: tuple[Batcher, Proxy], dsn: str
) -> None:
    batcher, proxy = door
    first = await on_its_way(batcher, proxy)

    others = asked(batcher, CONSUME, CONSUME, CONSUME)
    await until(lambda: decided(batcher) == 2)
    proxy.through.set()

    codes = [(await answer).code for answer in (*first, *others)]
    assert codes == [Code.CREATED, Code.CREATED, Code.CREATED, Code.INSUFFICIENT_CREDITS]
    assert await stored(dsn) == list(zip(codes, (1, 2, 2, 3), strict=True))


async def test_what_is_on_its_way_falls_into_halves(door: tuple[Batcher, Proxy], dsn: str) -> None:
    batcher, proxy = door
    first = await on_its_way(batcher, proxy)

    others = asked(batcher, *[CONSUME] * 63)
    await until(lambda: decided(batcher) == 32)
    proxy.through.set()

    await asyncio.gather(*first, *others)
    sizes = Counter(batch for _, batch in await stored(dsn))
    assert sizes == {1: 1, 2: 32, 3: 31}


@pytest.mark.parametrize(
    ("fault", "then"),
    [(Fault.CUT_BEFORE, Code.INSUFFICIENT_CREDITS), (Fault.CUT_AFTER, Code.CREATED)],
)
async def test_what_stood_on_a_batch_whose_answer_is_lost_is_decided_again(
    door: tuple[Batcher, Proxy], dsn: str, fault: Fault, then: Code
) -> None:
    batcher, proxy = door
    proxy.through.clear()
    proxy.arm(fault, b"refill")
    (first,) = asked(batcher, REFILL)
    await until(lambda: batcher._state.head.position == 3)

    (second,) = asked(batcher, CONSUME)
    await until(lambda: decided(batcher) == 1)
    proxy.through.set()

    assert (await first).code is Code.OUTCOME_UNKNOWN
    if (await second).code is Code.SHARD_UNAVAILABLE:  # It came before there was a connection.
        await until(lambda: batcher.ready)
        (second,) = asked(batcher, CONSUME)
    assert (await second).code is then
    assert [code for code, _ in await stored(dsn)][-1] == then


async def test_what_stood_on_a_batch_that_was_overtaken_is_decided_again(
    door: tuple[Batcher, Proxy], dsn: str
) -> None:
    batcher, proxy = door
    other = Ledger.open(dsn, "s0")
    await other.start()
    proxy.through.clear()
    first = asked(batcher, REFILL, CONSUME)
    await until(lambda: batcher._state.head.position == 4)
    second = asked(batcher, CONSUME, CONSUME)
    await until(lambda: decided(batcher) == 2)

    everything = Transfer(debit=ISSUANCE, credit="a", amount=2, kind="refill")
    await perform(other.batcher, "other", "k", everything)
    proxy.through.set()

    codes = [(await answer).code for answer in (*first, *second)]
    assert codes == [Code.CREATED] * 4  # 2 of the other's, and 10: enough for three times 4.
    assert [code for code, _ in await stored(dsn)] == [Code.CREATED] * 5
    await other.close()


async def test_a_job_that_cannot_be_decided_harms_only_itself(
    door: tuple[Batcher, Proxy], dsn: str
) -> None:
    batcher, proxy = door
    first = await on_its_way(batcher, proxy)

    poisoned = Transfer(debit="a", credit=REVENUE, amount=1, metadata={"no": object()})
    others = asked(batcher, CONSUME, poisoned, CONSUME)
    await asyncio.sleep(0.05)
    proxy.through.set()

    codes = [(await answer).code for answer in (*first, *others)]
    assert codes == [Code.CREATED, Code.CREATED, Code.INTERNAL_ERROR, Code.CREATED]
    assert [code for code, _ in await stored(dsn)] == [Code.CREATED] * 3


async def test_what_time_has_decided_is_not_decided_ahead(
    door: tuple[Batcher, Proxy], dsn: str
) -> None:
    batcher, proxy = door
    await perform(batcher, "me", "refill", REFILL)
    await perform(batcher, "me", "hold", Reserve(account="a", amount=9, timeout_seconds=1))
    proxy.through.clear()
    first = asked(batcher, REFILL)
    await until(lambda: batcher._state.head.position == 5)
    await asyncio.sleep(1.2)

    (second,) = asked(batcher, CONSUME)
    await asyncio.sleep(0.05)
    assert decided(batcher) == 0
    proxy.through.set()

    assert (await first[0]).code is Code.CREATED
    assert (await second).code is Code.CREATED  # The hold is over.
    assert (await verify(dsn)).problem is None


async def test_a_batch_that_has_waited_long_takes_no_more(
    door: tuple[Batcher, Proxy], dsn: str
) -> None:
    """All of a batch bear one time, which must not be of the past for those who come late."""
    batcher, proxy = door
    first = await on_its_way(batcher, proxy)
    second = asked(batcher, CONSUME)
    await until(lambda: decided(batcher) == 1)
    await asyncio.sleep(0.2)

    third = asked(batcher, Transfer(debit="a", credit=REVENUE, amount=1))
    await asyncio.sleep(0.05)
    assert decided(batcher) == 1
    proxy.through.set()

    for answer in (*first, *second, *third):
        assert (await answer).code is Code.CREATED
    assert [batch for _, batch in await stored(dsn)] == [1, 2, 3]


async def test_an_answer_that_its_client_cannot_use_harms_no_other_of_its_batch(
    door: tuple[Batcher, Proxy],
) -> None:
    batcher, proxy = door
    first = await on_its_way(batcher, proxy)

    def unusable(_: object) -> None:
        raise LookupError("gone")

    answers: list[Answer] = []
    for key, done in (("unusable", unusable), ("usable", answers.extend)):
        batcher.submit(Job("me", (CONSUME,), (key,), atomic=False, done=done))
    proxy.through.set()

    await until(lambda: bool(answers))
    assert (await first[0]).code is answers[0].code is Code.CREATED
