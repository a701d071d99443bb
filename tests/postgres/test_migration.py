"""Old and new programs share a database while one is replaced by the other."""

import asyncio
import tempfile
from pathlib import Path

import asyncpg
import pytest

from shieldx.ledger import schema
from shieldx.ledger.batcher import perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.model import Answer, Code
from shieldx.ledger.operations import ISSUANCE, OpenAccount, Transfer
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.schema import ChangedError, Migration
from shieldx.ledger.steps import Step
from shieldx.ledger.verify import verify
from tests.support.proxy import proxied
from tests.support.versions import CONTRACTS, EXPANDS, version

pytestmark = pytest.mark.postgres

CREDITS = 1_000_000
AMOUNT = 1
OLD_SESSIONS = "select from pg_stat_activity where application_name ~ '^shieldx-ledger/1'"


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
    later = Migration(known[-1].number + 1, "0002_later.sql", EXPANDS)
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


async def applied(dsn: str) -> list[int]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select number from migrations order by number")
        return [row["number"] for row in rows]
    finally:
        await connection.close()


async def until(dsn: str, condition: str) -> None:
    """Wait until something holds in the database."""
    connection = await asyncpg.connect(dsn)
    async with asyncio.timeout(30):
        while not await connection.fetchval(f"select {condition}"):  # noqa: ASYNC110 - a test's own words.
            await asyncio.sleep(0.02)
    await connection.close()


async def prepare(dsn: str) -> None:
    """Bring a database to the shipped schema, with credits on account a."""
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    await ledger.start()
    for name in "ab":
        await perform(ledger.batcher, "me", f"open-{name}", OpenAccount(id=name))
    fill = Transfer(debit=ISSUANCE, credit="a", amount=CREDITS, kind="refill")
    assert (await perform(ledger.batcher, "me", "fill", fill)).code is Code.CREATED
    await ledger.close()


async def test_an_old_program_starts_again_beside_a_newer_one_under_load(dsn: str) -> None:
    await prepare(dsn)
    async with version(dsn) as old, version(dsn) as again:
        assert await old.serves() == 1
        assert await again.serves() == 1
        await old.writes(20)
        async with version(dsn, EXPANDS) as new:
            assert await new.serves() == 2
            await new.writes(20)
            await old.writes(20)
            await again.kill()
            async with version(dsn) as third:
                assert await third.serves() == 2
                for each in (third, new, old, third):
                    await each.writes(20)
                programs = (old, again, new, third)
                for each in (old, new, third):
                    await each.kill()

    ledger = Ledger.open(dsn, "s0")
    await ledger.start()
    for program in programs:
        assert set(program.answers.values()) <= {"created"}
        for key in program.answers:
            one = Transfer(debit="a", credit="b", amount=1)
            assert (await perform(ledger.batcher, "me", key, one)).replayed, key
    await ledger.close()
    assert await applied(dsn) == [1, 2]
    assert (await verify(dsn)).problem is None


async def test_what_an_old_program_needs_is_not_taken_away_while_it_is_connected(
    dsn: str,
) -> None:
    await prepare(dsn)
    async with version(dsn) as old:
        await old.serves()
        await old.writes(1)
        async with version(dsn, EXPANDS, CONTRACTS) as newest:
            status, said = await newest.ended()
        assert status == 1
        assert said.startswith("migration 0003_later.sql ends what programs before 0002 need")
        assert "one of 0001 is connected" in said
        await old.writes(20)
        assert await applied(dsn) == [1, 2]
        await old.kill()
    await until(dsn, f"not exists ({OLD_SESSIONS})")

    async with version(dsn, EXPANDS, CONTRACTS) as newest, version(dsn, EXPANDS) as between:
        assert await newest.serves() == 3
        async with version(dsn) as old:
            status, said = await old.ended()
        assert status == 1
        assert "programs work with from 0002 on, and this one is 0001: run a newer ShieldX" in said
        await between.serves()
        for each in (newest, between):
            await each.writes(20)


async def test_processes_that_migrate_at_once_do_it_once(dsn: str) -> None:
    async with (
        version(dsn, EXPANDS) as one,
        version(dsn, EXPANDS) as two,
        version(dsn, EXPANDS) as three,
    ):
        assert [await each.serves() for each in (one, two, three)] == [2, 2, 2]

    await until(dsn, "(select count(*) from later) = 1")
    assert await applied(dsn) == [1, 2]


@pytest.mark.parametrize(
    ("step", "left"),
    [(Step.MIGRATION_LOCKED, [1]), (Step.MIGRATION_APPLIED, [1]), (Step.MIGRATED, [1, 2])],
)
async def test_a_migration_that_was_killed_is_finished_by_the_next(
    dsn: str, step: Step, left: list[int]
) -> None:
    await prepare(dsn)
    async with version(dsn, EXPANDS, crash_at=step) as killed:
        assert await killed.ended() == (-9, f"SHIELDX_CRASH_AT={step}: killed")
    assert await applied(dsn) == left

    async with version(dsn, EXPANDS) as successor:
        assert await successor.serves() == 2
        await successor.writes(1)
    assert await applied(dsn) == [1, 2]


async def test_a_migration_does_not_make_writes_wait_behind_a_long_query(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Ledger.open(dsn, "s0")
    await old.migrate()
    await old.start()
    known = schema.migrations()
    later = Migration(known[-1].number + 1, "0002_later.sql", EXPANDS)
    monkeypatch.setattr(schema, "migrations", lambda: [*known, later])
    reader = await asyncpg.connect(dsn)
    long_query = reader.transaction()
    await long_query.start()
    await reader.execute("select from entries")

    with pytest.raises(ShardUnavailableError, match="a long query holds a table"):
        await old.migrate()
    written = await perform(old.batcher, "me", "k", OpenAccount(id="a"))

    await long_query.rollback()
    await reader.close()
    assert written.code is Code.CREATED
    assert await old.migrate() == later.number
    await old.close()


async def test_an_old_process_that_was_away_during_a_contraction_writes_no_more(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = schema.migrations()
    steps = [Migration(n, f"000{n}_later.sql", sql) for n, sql in ((2, EXPANDS), (3, CONTRACTS))]
    with tempfile.TemporaryDirectory() as folder:
        async with proxied(dsn, Path(folder)) as (through, proxy):
            old = Ledger.open(through, "s0")
            await old.migrate()
            await old.start()
            await perform(old.batcher, "me", "open", OpenAccount(id="a"))
            proxy.shut()
            with monkeypatch.context() as newer:
                newer.setattr(schema, "migrations", lambda: [*known, *steps])
                await until(dsn, f"not exists ({OLD_SESSIONS})")
                connection = await asyncpg.connect(dsn)
                await schema.migrate(connection, "s0")
                await connection.close()
            proxy.open()

            answers = [
                await perform(old.batcher, "me", f"k{n}", OpenAccount(id="b")) for n in range(2)
            ]
            await asyncio.sleep(1)

            assert Code.CREATED not in {answer.code for answer in answers}
            assert not old.ready
            await old.close()


async def test_a_migration_in_another_form_is_refused(dsn: str) -> None:
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    connection = await asyncpg.connect(dsn)
    await connection.execute("update migrations set checksum = 'x' where number = 1")
    await connection.close()

    with pytest.raises(ChangedError):
        await ledger.migrate()


def test_every_migration_says_who_can_work_with_it() -> None:
    oldest = [(migration.oldest, migration.number) for migration in schema.migrations()]

    assert oldest == sorted(oldest)
    assert all(old <= number for old, number in oldest)
    with pytest.raises(ValueError, match="does not begin with"):
        _ = Migration(2, "0002_silent.sql", "select 1").oldest
