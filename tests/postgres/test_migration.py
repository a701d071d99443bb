"""Old and new programs share a database while one is replaced by the other."""

import asyncio

import pytest

from shieldx.ledger import schema
from shieldx.ledger.batcher import perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.model import Answer, Code
from shieldx.ledger.operations import ISSUANCE, OpenAccount, Transfer
from shieldx.ledger.schema import Migration
from shieldx.ledger.verify import verify

pytestmark = pytest.mark.postgres

# What may be added while the old program runs: it knows nothing of it, and need not.
ADDITIVE = """
alter table accounts add column later text;
alter table entries add column later bigint not null default 0;
create index entries_later on entries (later, position);
create table later (id bigint primary key);
"""
AMOUNT = 1


async def test_an_old_process_works_on_while_a_newer_one_migrates(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Ledger.open(dsn, "s0")
    known = schema.migrations()
    assert await old.migrate() == known[-1].number
    await old.start()
    for name in "ab":
        await perform(old.batcher, "me", f"open-{name}", OpenAccount(id=name))
    await perform(
        old.batcher, "me", "fill", Transfer(debit=ISSUANCE, credit="a", amount=9999, kind="refill")
    )
    answers: list[Answer] = []
    stopped = asyncio.Event()

    async def customer(number: int) -> None:
        while not stopped.is_set():
            key = f"{number}-{len(answers)}"
            operation = Transfer(debit="a", credit="b", amount=AMOUNT)
            answers.append(await perform(old.batcher, "me", key, operation))

    customers = [asyncio.create_task(customer(number)) for number in range(3)]
    later = Migration(known[-1].number + 1, "9999_later.sql", ADDITIVE)
    monkeypatch.setattr(schema, "migrations", lambda: [*known, later])
    new = Ledger.open(dsn, "s0")
    assert await new.migrate() == later.number
    await new.start()
    before = len(answers)
    for number in range(20):
        operation = Transfer(debit="a", credit="b", amount=AMOUNT)
        first = await perform(new.batcher, "me", f"new-{number}", operation)
        again = await perform(old.batcher, "me", f"new-{number}", operation)
        assert (first.code, again.code, again.replayed) == (Code.CREATED, Code.CREATED, True)
        assert first.body == again.body
    stopped.set()
    await asyncio.gather(*customers)

    assert len(answers) > before > 0
    assert {answer.code for answer in answers} == {Code.CREATED}
    balances = await old.reads.balances(["b"])
    assert balances["b"]["balance"] == (len(answers) + 20) * AMOUNT
    for ledger in (old, new):
        await ledger.close()
    assert (await verify(dsn)).problem is None
