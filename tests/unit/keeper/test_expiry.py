"""The keeper's look for due holds: what it asks for, what it counts, and that it never gives up."""

import asyncio
from collections.abc import Sequence

import pytest

from shieldx.keeper import expiry
from shieldx.keeper.expiry import Expiry
from shieldx.ledger.batcher import Job
from shieldx.ledger.operations import Expire
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.records import SYSTEM_CALLER, Answer, Code


class Books:
    """Holds that are due, and how the ledger answers their expiry."""

    def __init__(self, due: Sequence[str], *codes: Code) -> None:
        self.due = list(due)
        self.codes = codes
        self.jobs: list[Job] = []
        self.away = False
        self.looked = asyncio.Event()

    async def due_holds(self, limit: int) -> list[str]:
        self.looked.set()
        if self.away:
            raise ShardUnavailableError("away")
        return self.due[:limit]

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        codes = self.codes or [Code.CREATED] * len(job.operations)
        job.done([Answer(code, {}) for code in codes])


async def test_due_holds_are_expired_by_the_system_in_one_batch() -> None:
    books = Books(["h1", "h2"])
    keeper = Expiry(books.due_holds, books.submit)

    assert await keeper.once() == 2

    (job,) = books.jobs
    assert job.caller == SYSTEM_CALLER
    assert list(job.operations) == [Expire(hold="h1"), Expire(hold="h2")]
    assert (list(job.keys), job.atomic) == ([None, None], False)
    assert keeper.expired == 2


async def test_nothing_due_asks_for_nothing() -> None:
    books = Books([])

    assert await Expiry(books.due_holds, books.submit).once() == 0

    assert books.jobs == []


async def test_only_what_was_expired_is_counted_and_only_what_failed_has_failed() -> None:
    codes = (
        Code.CREATED,
        Code.HOLD_ALREADY_COMMITTED,
        Code.HOLD_ALREADY_VOIDED,
        Code.HOLD_EXPIRED,
        Code.OUTCOME_UNKNOWN,
        Code.INTERNAL_ERROR,
    )
    books = Books([f"h{number}" for number in range(len(codes))], *codes)
    keeper = Expiry(books.due_holds, books.submit)

    await keeper.once()

    assert (keeper.expired, keeper.failed) == (1, 2)


async def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "EVERY_SECONDS", 0.01)
    books = Books(["h"])
    books.away = True
    keeper = Expiry(books.due_holds, books.submit)
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.05)
    assert not keeper.working

    books.away = False
    books.looked.clear()
    async with asyncio.timeout(5):
        await books.looked.wait()
    await asyncio.sleep(0.05)
    running.cancel()

    assert keeper.working
    assert keeper.expired > 0
