"""The keeper's look for due accounts: what it asks for, what it counts, that it never gives up."""

import asyncio
from collections.abc import Sequence

import pytest

from shieldx.keeper import expiry
from shieldx.keeper.expiry import Expiry
from shieldx.ledger.jobs import Job
from shieldx.ledger.operations import Settle
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.records import SYSTEM_CALLER, Answer, Code


class Books:
    """Accounts that are due, and how the ledger answers their settling."""

    def __init__(self, due: Sequence[str], *codes: Code) -> None:
        self.due = list(due)
        self.codes = codes
        self.jobs: list[Job] = []
        self.away = False
        self.looked = asyncio.Event()

    async def due_accounts(self, limit: int) -> list[str]:
        self.looked.set()
        if self.away:
            raise ShardUnavailableError("away")
        return self.due[:limit]

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        codes = self.codes or [Code.CREATED] * len(job.operations)
        job.done([Answer(code, {}) for code in codes])


async def test_due_accounts_are_settled_by_the_system_in_one_batch() -> None:
    books = Books(["h1", "h2"])
    keeper = Expiry(books.due_accounts, books.submit)

    assert await keeper.once() == 2

    (job,) = books.jobs
    assert job.caller == SYSTEM_CALLER
    assert list(job.operations) == [Settle(account="h1"), Settle(account="h2")]
    assert (list(job.keys), job.atomic) == ([None, None], False)
    assert keeper.settled == 2


async def test_nothing_due_asks_for_nothing() -> None:
    books = Books([])

    assert await Expiry(books.due_accounts, books.submit).once() == 0

    assert books.jobs == []


async def test_only_what_was_settled_is_counted_and_only_what_failed_has_failed() -> None:
    codes = (
        Code.CREATED,
        Code.OUTCOME_UNKNOWN,
        Code.INTERNAL_ERROR,
    )
    books = Books([f"h{number}" for number in range(len(codes))], *codes)
    keeper = Expiry(books.due_accounts, books.submit)

    await keeper.once()

    assert (keeper.settled, keeper.failed) == (1, 2)


async def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "EVERY_SECONDS", 0.01)
    books = Books(["h"])
    books.away = True
    keeper = Expiry(books.due_accounts, books.submit)
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.05)
    assert not keeper.working

    books.away = False
    books.looked.clear()
    async with asyncio.timeout(30):
        await books.looked.wait()
    await asyncio.sleep(0.05)
    running.cancel()

    assert keeper.working
    assert keeper.settled > 0
