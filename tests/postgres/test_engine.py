"""The engine on a real PostgreSQL: what it stores is what the core decides, whatever happens."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from shieldx.ledger.batcher import Batcher, perform
from shieldx.ledger.jobs import Job
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.model import Answer, Code
from shieldx.ledger.operations import (
    ISSUANCE,
    Commit,
    Grant,
    OpenAccount,
    Operation,
    Reserve,
    Reverse,
    SetAlert,
    Settle,
    Transfer,
    Void,
    VoidGrant,
)
from shieldx.ledger.verify import verify
from tests.support.book import Book
from tests.support.proxy import Fault, Proxy, proxied

pytestmark = pytest.mark.postgres


@pytest.fixture
async def ledger(dsn: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    await ledger.start()
    yield ledger
    await ledger.close()


async def prepare(batcher: Batcher, *names: str, amount: int = 1000) -> None:
    for name in names:
        await perform(batcher, "setup", f"open-{name}", OpenAccount(id=name))
        refill = Transfer(debit=ISSUANCE, credit=name, amount=amount, kind="refill")
        answer = await perform(batcher, "setup", f"refill-{name}", refill)
        assert answer.code is Code.CREATED


async def clean(dsn: str) -> None:
    report = await verify(dsn)
    assert report.problem is None


def drawn(rng: random.Random, book: Book) -> Operation:
    """Draw an operation that is often possible and sometimes not."""
    pair = rng.sample(["a", "b", "c"], 2)
    open_holds = [h.id for h in book.state.holds.values() if h is not None] or ["hold_s0_0"]
    posted = list(book.state.posted) or ["tx_s0_1"]
    grants = list(book.state.lots) or ["grant_s0_1"]
    choices: list[Operation] = [
        Transfer(debit=ISSUANCE, credit=pair[0], amount=rng.randint(1, 50), kind="refill"),
        Transfer(debit=pair[0], credit=pair[1], amount=rng.randint(1, 60)),
        Reserve(account=pair[0], amount=rng.randint(1, 40), timeout_seconds=600, to=pair[1]),
        Commit(hold=rng.choice(open_holds), amount=rng.choice([None, 5]), final=rng.random() < 0.5),
        Void(hold=rng.choice(open_holds)),
        Reverse(transfer=rng.choice(posted), amount=rng.choice([None, 3])),
        Grant(account=pair[0], amount=rng.randint(1, 50), priority=rng.randint(0, 2)),
        VoidGrant(account=pair[0], grant=rng.choice(grants)),
        SetAlert(account=pair[0], available_below=rng.choice([None, 40])),
    ]
    return rng.choice(choices)


async def test_the_engine_answers_and_stores_what_the_core_decides(
    ledger: Ledger, dsn: str
) -> None:
    seed = random.randrange(2**32)
    rng, book = random.Random(seed), Book()
    book.open("a", "b", "c")
    for name in "abc":
        await perform(ledger.batcher, "me", f"open-{name}", OpenAccount(id=name))
    other = Ledger.open(dsn, "s0")
    await other.start()

    for step in range(300):
        operation, key = drawn(rng, book), f"key-{rng.randrange(250)}"
        # Whoever did not decide last has to load what it does not know any more.
        batcher = rng.choice([ledger, ledger, other]).batcher
        expected, answer = book.ask(operation, key), await perform(batcher, "me", key, operation)
        assert (answer.code, answer.replayed) == (expected.code, expected.replayed), (seed, step)
        balances = await ledger.reads.balances(["a", "b", "c"])
        for name in "abc":
            shown = balances[name]
            assert (shown["balance"], shown["held"], shown["available"]) == book.figures(name), seed
        assert (await ledger.reads.status())["seq"] == book.state.head.seq
    await other.close()
    for name in "abc":
        shown_lots, _ = await ledger.reads.grants(name, None, None, 1000)
        lots = [lot for lot in book.state.lots.values() if lot and lot.account == name]
        assert {(g["id"], g["remaining"], g["held"], g["state"]) for g in shown_lots} == {
            (lot.id, lot.remaining, lot.held, lot.state) for lot in lots
        }, seed

    await clean(dsn)


async def test_two_processes_that_write_at_once_lose_and_double_nothing(
    ledger: Ledger, dsn: str
) -> None:
    other = Ledger.open(dsn, "s0")
    await other.start()
    await prepare(ledger.batcher, "a", "b")

    async def client(number: int) -> list[Answer]:
        batcher = (ledger, other)[number % 2].batcher
        ends = ("a", "b") if number % 4 < 2 else ("b", "a")
        return [
            await perform(
                batcher, f"c{number}", f"k{i}", Transfer(debit=ends[0], credit=ends[1], amount=1)
            )
            for i in range(25)
        ]

    answers = await asyncio.gather(*(client(number) for number in range(16)))

    assert {answer.code for some in answers for answer in some} == {Code.CREATED}
    seqs = sorted(answer.body["seq"] for some in answers for answer in some)
    assert seqs == list(range(3, 3 + 16 * 25))
    await other.close()
    await clean(dsn)


async def test_the_same_key_through_two_processes_at_once_is_done_once(
    ledger: Ledger, dsn: str
) -> None:
    other = Ledger.open(dsn, "s0")
    await other.start()
    await prepare(ledger.batcher, "a", "b")
    operation = Transfer(debit="a", credit="b", amount=7)

    pairs = [
        await asyncio.gather(
            perform(ledger.batcher, "me", f"k{i}", operation),
            perform(other.batcher, "me", f"k{i}", operation),
        )
        for i in range(30)
    ]

    for one, two in pairs:
        assert sorted([one.replayed, two.replayed]) == [False, True]
        assert one.body == two.body
    assert (await ledger.reads.balances(["b"]))["b"]["balance"] == 1000 + 30 * 7
    await other.close()
    await clean(dsn)


@pytest.fixture
async def door(dsn: str) -> AsyncIterator[tuple[Ledger, Proxy]]:
    """A ledger whose connections lead through a proxy."""
    with tempfile.TemporaryDirectory() as folder:
        async with proxied(dsn, Path(folder)) as (through, proxy):
            ledger = Ledger.open(through, "s0")
            await ledger.migrate()
            await ledger.start()
            await prepare(ledger.batcher, "a", "b")
            yield ledger, proxy
            await ledger.close()


async def until_ready(ledger: Ledger) -> None:
    async with asyncio.timeout(30):
        while not ledger.ready:  # noqa: ASYNC110 - readiness is polled by the kubelet, too.
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("fault", "replayed"), [(Fault.CUT_BEFORE, False), (Fault.CUT_AFTER, True)]
)
async def test_a_connection_cut_while_storing_is_settled_by_the_key(
    door: tuple[Ledger, Proxy],
    dsn: str,
    fault: Fault,
    replayed: bool,  # noqa: FBT001 - a parameter of the table.
) -> None:
    ledger, proxy = door
    operation = Transfer(debit="a", credit="b", amount=7)
    proxy.arm(fault, b"the-key")

    first = await perform(ledger.batcher, "me", "the-key", operation)
    await until_ready(ledger)
    second = await perform(ledger.batcher, "me", "the-key", operation)

    assert proxy.fired == 1
    assert first.code is Code.OUTCOME_UNKNOWN
    assert (second.code, second.replayed) == (Code.CREATED, replayed)
    assert (await ledger.reads.balances(["a"]))["a"]["balance"] == 993
    await clean(dsn)


async def test_a_connection_cut_while_loading_is_told_as_not_done(
    door: tuple[Ledger, Proxy], dsn: str
) -> None:
    ledger, proxy = door
    await perform(ledger.batcher, "me", "new", OpenAccount(id="unseen"))
    await ledger.close()
    fresh = Ledger.open(ledger._dsn, "s0")
    await fresh.start()
    await until_ready(fresh)
    proxy.arm(Fault.CUT_AFTER, b"unseen")

    first = await perform(fresh.batcher, "me", "k", Transfer(debit="a", credit="unseen", amount=1))
    await until_ready(fresh)
    second = await perform(fresh.batcher, "me", "k", Transfer(debit="a", credit="unseen", amount=1))

    assert first.code is Code.SHARD_UNAVAILABLE
    assert (second.code, second.replayed) == (Code.CREATED, False)
    await fresh.close()
    await clean(dsn)


async def test_a_poisoned_operation_harms_only_itself(ledger: Ledger, dsn: str) -> None:
    await prepare(ledger.batcher, "a", "b")
    answers: dict[int, Answer] = {}

    def job(number: int, text: str) -> Job:
        def done(said: Sequence[Answer]) -> None:
            answers[number] = said[0]

        operation = Transfer(debit="a", credit="b", amount=1, metadata={"text": text})
        return Job("me", (operation,), (f"k{number}",), atomic=False, done=done)

    # A NUL is JSON, but no text that Postgres can hold.
    for number in range(20):
        ledger.batcher.submit(job(number, "\x00" if number == 13 else "fine"))
    async with asyncio.timeout(30):
        while len(answers) < 20:  # noqa: ASYNC110 - `done` is a plain callback.
            await asyncio.sleep(0.01)

    assert answers.pop(13).code is Code.INTERNAL_ERROR
    assert {answer.code for answer in answers.values()} == {Code.CREATED}
    await clean(dsn)


@pytest.mark.parametrize("reason", ["disk_full", "out_of_memory", "read_only_sql_transaction"])
async def test_a_database_that_has_no_room_is_told_as_not_done(
    ledger: Ledger, dsn: str, reason: str
) -> None:
    await prepare(ledger.batcher, "a", "b")
    superuser = await asyncpg.connect(dsn)
    await superuser.execute(
        "create function refuse() returns trigger language plpgsql as "
        f"$$ begin raise exception using errcode = '{reason}'; end $$; "
        "create trigger refuse before insert on entries for each row execute function refuse();"
    )
    operation = Transfer(debit="a", credit="b", amount=7)

    first = await perform(ledger.batcher, "me", "k", operation)
    await superuser.execute("drop trigger refuse on entries")
    await until_ready(ledger)
    second = await perform(ledger.batcher, "me", "k", operation)

    await superuser.close()
    assert first.code is Code.SHARD_UNAVAILABLE
    assert (second.code, second.replayed) == (Code.CREATED, False)
    await clean(dsn)


async def test_what_is_accepted_is_answered_before_closing(ledger: Ledger) -> None:
    await prepare(ledger.batcher, "a", "b")
    operation = Transfer(debit="a", credit="b", amount=1)
    waiting = [
        asyncio.ensure_future(perform(ledger.batcher, "me", f"k{i}", operation)) for i in range(50)
    ]
    await asyncio.sleep(0)

    await ledger.batcher.close()

    assert {(await answer).code for answer in waiting} == {Code.CREATED}
    assert (await perform(ledger.batcher, "me", "late", operation)).code == "shard_unavailable"


async def test_holds_expire_by_time_and_the_keeper_only_tidies(ledger: Ledger, dsn: str) -> None:
    await prepare(ledger.batcher, "a", "b")
    reserved = await perform(
        ledger.batcher, "me", "r", Reserve(account="a", amount=900, timeout_seconds=1, to="b")
    )
    hold = reserved.body["id"]
    await asyncio.sleep(1.1)

    seen = await ledger.reads.hold(hold)
    assert seen is not None
    assert (seen["state"], seen["remaining"]) == ("expired", 0)
    assert (await ledger.reads.balances(["a"]))["a"]["available"] == 1000
    assert await ledger.reads.due_accounts(10) == ["a"]
    await perform(ledger.batcher, "system", None, Settle(account="a"))
    assert await ledger.reads.due_accounts(10) == []
    await clean(dsn)


async def test_grants_begin_and_expire_by_time_and_reads_show_it(ledger: Ledger, dsn: str) -> None:
    await prepare(ledger.batcher, "a", amount=10)
    now = (await ledger.reads.balances(["a"]))["a"]["as_of"]
    grant = Grant(account="a", amount=50, effective_at=now + 2_000_000, expires_at=now + 6_000_000)
    name = (await perform(ledger.batcher, "me", "g", grant)).body["id"]
    assert (await ledger.reads.balances(["a"]))["a"]["available"] == 10
    await asyncio.sleep(2.1)

    assert (await ledger.reads.balances(["a"]))["a"]["available"] == 60
    assert [g["id"] for g in (await ledger.reads.grants("a", "active", None, 9))[0]] == [name]
    reserve = Reserve(account="a", amount=20, timeout_seconds=600)
    hold = (await perform(ledger.batcher, "me", "h", reserve)).body["id"]
    await asyncio.sleep(4)

    balance = (await ledger.reads.balances(["a"]))["a"]
    assert (balance["balance"], balance["held"], balance["available"]) == (30, 20, 10)
    ((lot,), _) = await ledger.reads.grants("a", "expired", None, 9)
    assert (lot["remaining"], lot["held"]) == (20, 20)
    assert await ledger.reads.due_accounts(10) == ["a"]
    paid = await perform(ledger.batcher, "me", "c", Commit(hold=hold))
    assert paid.body["balances"]["a"]["balance"] == 10
    assert await ledger.reads.due_accounts(10) == []
    await clean(dsn)


async def test_history_is_paged_without_gaps(ledger: Ledger) -> None:
    await prepare(ledger.batcher, "a", "b")
    for i in range(7):
        await perform(ledger.batcher, "me", f"k{i}", Transfer(debit="a", credit="b", amount=1))
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page, cursor = await ledger.reads.entries("a", cursor, 3)
        seen += [entry["seq"] for entry in page]
        if cursor is None:
            break

    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "update entries set answer = overlay(answer placing 'X' from 5) where position = 4",
            "entry 4",
        ),
        ("update entries set caller = 'her' where position = 4", "entry 4"),
        ("delete from entries where position = 4", "entry 4"),
        ("update transfers set amount = amount + 1 where seq = 2", "transfer 2"),
        ("update transfers set metadata = '{\"x\": 1}' where seq = 2", "transfer 2"),
        ("update transfers set credit = 'c' where seq = 5", "transfer 5"),
        ("delete from transfers where seq = 3", "entry 6"),
        ("update transfers set reversed = 1 where seq = 2", "transfer 2"),
        ("update accounts set balance = balance + 1 where id = 'b'", "account b"),
        ("update accounts set state = 'frozen' where id = 'b'", "account b"),
        ("update accounts set floor = -5 where id = 'b'", "account b"),
        (
            "insert into accounts values ('x', 0, 0, 0, 'open', 1, '{}', null, 0, null, false)",
            "account x",
        ),
        ("update holds set expires_at = expires_at + 1", "hold hold_s0_"),
        ("update holds set \"to\" = 'c'", "hold hold_s0_"),
        ("delete from holds", "holds"),
        ("update head set seq = seq + 1", "head"),
    ],
)
async def test_verify_names_the_first_thing_that_was_tampered_with(
    ledger: Ledger, dsn: str, statement: str, named: str
) -> None:
    await prepare(ledger.batcher, "a", "b", "c")
    for i in range(3):
        await perform(ledger.batcher, "me", f"k{i}", Transfer(debit="a", credit="b", amount=1))
    hold = Reserve(account="a", amount=10, timeout_seconds=600, to="b")
    assert (await perform(ledger.batcher, "me", "h", hold)).code == "created"
    await clean(dsn)
    superuser = await asyncpg.connect(dsn)

    await superuser.execute(statement)

    await superuser.close()
    problem = (await verify(dsn)).problem
    assert problem is not None
    assert problem.startswith(named), problem


async def test_the_last_entry_cut_off_shows_against_the_head(ledger: Ledger, dsn: str) -> None:
    await prepare(ledger.batcher, "a", "b")
    superuser = await asyncpg.connect(dsn)

    await superuser.execute(
        "delete from entries where position = (select max(position) from entries)"
    )

    await superuser.close()
    assert str((await verify(dsn)).problem).startswith(("head", "transfer"))
