"""Verify in one process and in two, and what only its own way of comparing could miss."""

import asyncpg
import pytest

from shieldx.ledger.batcher import perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import ISSUANCE, OpenAccount, Operation, Reserve, Transfer
from shieldx.ledger.seals import KeyRing
from shieldx.ledger.verify import LONG, verify

pytestmark = pytest.mark.postgres

RING = KeyRing({"k1": bytes(range(32))})
# Postgres keeps what they mean, and writes each in a way of its own.
METADATA = {
    "": None,
    "ordered": {"bb": 1, "a": [True, {"z": 0, "ä": '\u0001\u2028\x7f\\"/'}]},
    "numbers": [0.1, 1e22, -1.5e-9, 2**63 - 1, 0.0],
    "o": "x" * 500,
}


@pytest.fixture(params=[LONG, 0], ids=["one process", "two processes"])
def long(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def some_books(dsn: str) -> None:
    """Two accounts are entries 1 and 2, then a transfer, a hold twice, and transfers."""
    ledger = Ledger.open(dsn, "s0", ring=RING)
    await ledger.migrate()
    await ledger.start()
    hold = Reserve(account="a", amount=2, timeout_seconds=600, metadata=METADATA)
    move = Transfer(debit="a", credit="b", amount=1, metadata=METADATA)
    operations: list[Operation] = [
        OpenAccount(id="a", metadata=METADATA),
        OpenAccount(id="b"),
        Transfer(debit=ISSUANCE, credit="a", amount=100),
        hold,
        hold,
        *[move] * 5,
    ]
    for number, operation in enumerate(operations):
        answer = await perform(ledger.batcher, "me", f"k{number}", operation)
        assert answer.code == "created", answer
    await ledger.close()


async def tamper(dsn: str, *statements: str) -> None:
    superuser = await asyncpg.connect(dsn)
    for statement in statements:
        await superuser.execute(statement)
    await superuser.close()


async def test_clean_books_are_clean_and_counted_on_the_way(dsn: str, long: int) -> None:
    await some_books(dsn)
    told: list[tuple[int, int]] = []

    report = await verify(dsn, RING, progress=lambda *far: told.append(far), long=long)

    assert report.problem is None
    assert (report.entries, report.transfers, report.holds, report.sealed) == (10, 6, 2, 10)
    assert told[-1] == (10, 10)


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["update entries set hash = sha256(hash) where position = 7"], "entry 7: its hash"),
        (["update entries set key = 'other' where position = 7"], "entry 7: its hash"),
        (["update entries set receipt = null where position = 7"], "entry 7: its receipt"),
        (["delete from entries where position = 7"], "entry 7 is missing"),
        (
            [
                "update entries set caller = 'other' where position = 7",
                "update transfers set amount = 7 where seq = 2",
            ],
            "transfer 2 (entry 6): amount is 7, must be 1",
        ),
        (
            [
                "update entries set caller = 'other' where position = 5",
                "update transfers set amount = 7 where seq = 2",
            ],
            "entry 5: its hash",
        ),
        (["update entries set operation = 'nonsense' where position = 7"], "entry 7: its hash"),
    ],
)
async def test_the_first_of_what_two_look_for_is_named(
    dsn: str, long: int, statements: list[str], named: str
) -> None:
    await some_books(dsn)
    await tamper(dsn, *statements)

    problem = (await verify(dsn, RING, long=long)).problem

    assert str(problem).startswith(named)


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (
            [
                "alter table holds drop constraint holds_pkey",
                "delete from holds where id = 'hold_s0_5'",
                "insert into holds select * from holds",
            ],
            "hold hold_s0_4: it is there twice",
        ),
        (["delete from holds where id = 'hold_s0_5'"], "holds: hold_s0_5 is missing"),
        (["update transfers set metadata = metadata || '{\"o\": 1}' where seq = 3"], "transfer 3"),
        (["update accounts set next_due = next_due + 1 where id = 'a'"], "account a: next_due"),
        (["update accounts set next_due = null where id = 'a'"], "account a: next_due"),
        (
            [
                "alter table transfers drop constraint transfers_pkey",
                "insert into transfers select * from transfers where seq = 6",
            ],
            "transfer 6",
        ),
        (
            [
                "alter table entries alter code drop not null",
                "update entries set code = null where position = 4",
            ],
            "entry 4: its hash",
        ),
        (
            [
                "alter table figures alter held drop not null",
                "update figures set held = null where account = 'a' and version = 1",
            ],
            "figures of a at",
        ),
    ],
)
async def test_rows_that_are_compared_as_bytes_still_name_what_is_wrong(
    dsn: str, statements: list[str], named: str
) -> None:
    await some_books(dsn)
    await tamper(dsn, *statements)

    problem = (await verify(dsn, RING)).problem

    assert str(problem).startswith(named)
