# ruff: noqa: S608 — names of tables and columns come from the catalogue.
"""Whoever can write to the database cannot change the past unseen: every column is tried."""

import asyncio
import itertools
import json
from pathlib import Path

import asyncpg
import pytest

from shieldx.ledger.batcher import perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import (
    ISSUANCE,
    REVENUE,
    Commit,
    Grant,
    OpenAccount,
    Operation,
    Reserve,
    Reverse,
    SetAlert,
    Transfer,
)
from shieldx.ledger.seals import KeyRing
from shieldx.ledger.verify import Recorded, verify

pytestmark = pytest.mark.postgres

# What verify does not judge, and why that is no way to change the past.
EXCEPTIONS = {
    ("migrations", "*"): "compared by every process that starts; says nothing of credits",
    ("writer", "*"): "who writes just now; the guard does not trust it",
    ("webhooks", "*"): "how far webhooks are told; the events themselves are the chain",
    ("accounts", "next_due"): "earlier than need be only makes somebody look; later is named",
}


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing.create(tmp_path / "keys")


async def live_a_little(ledger: Ledger) -> None:
    """Leave a row in every table, and something in every column."""
    keys = (f"k{number}" for number in itertools.count())

    async def ask(operation: Operation) -> str:
        answer = await perform(ledger.batcher, "me", next(keys), operation)
        assert answer.code == "created", answer
        return str(answer.body.get("id"))

    for name in ("a", "b"):
        await ask(OpenAccount(id=name, metadata={"of": name}))
    await ask(Transfer(debit=ISSUANCE, credit="a", amount=100, kind="refill", reference="r"))
    await ask(Grant(account="a", amount=50, expires_at=2**52, metadata={"why": "gift"}))
    spent = await ask(Transfer(debit="a", credit=REVENUE, amount=30, metadata={"order": 1}))
    await ask(Reverse(transfer=spent, amount=10))
    hold = await ask(Reserve(account="a", amount=20, timeout_seconds=600, to="b"))
    await ask(Commit(hold=hold, amount=5, final=False))
    await ask(SetAlert(account="a", available_below=500))
    await perform(ledger.batcher, "me", "no", Transfer(debit="b", credit="a", amount=10**6))


async def columns(connection: asyncpg.Connection) -> list[tuple[str, str, str]]:
    rows = await connection.fetch(
        "select c.table_name, c.column_name, c.data_type from information_schema.columns as c "
        "inner join information_schema.tables as t using (table_schema, table_name) "
        "where c.table_schema = 'public' and t.table_type = 'BASE TABLE' order by 1, 2"
    )
    return [(row["table_name"], row["column_name"], row["data_type"]) for row in rows]


def another(kind: str, column: str) -> str:
    """Return SQL for a value that the cell does not have."""
    name = f'"{column}"'
    match kind:
        case "bigint" | "integer" | "smallint":
            return f"coalesce({name}, 41) + 1"
        case "boolean":
            return f"not {name}"
        case "bytea":
            return f"set_byte({name}, 0, (get_byte({name}, 0) + 1) % 256)"
        case "jsonb":
            return "'[[\"x\", 1]]'::jsonb"
        case "timestamp with time zone":
            return f"{name} + interval '1 second'"
        case _:
            return f"coalesce({name}, '') || 'x'"


async def unchecked(dsn: str) -> asyncpg.Connection:
    """Connect as a superuser for whom no constraint holds."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "select case when conrelid = 0 then format('domain %s', contypid::regtype) "
        "else format('table %s', conrelid::regclass) end as of, conname from pg_constraint "
        "where connamespace = 'public'::regnamespace and contype in ('c', 'p', 'u')"
    )
    for row in rows:
        await connection.execute(f'alter {row["of"]} drop constraint "{row["conname"]}"')
    await connection.execute("drop index entries_key")
    return connection


async def test_one_changed_cell_of_any_column_of_any_table_is_named(
    dsn: str, ring: KeyRing
) -> None:
    ledger = Ledger.open(dsn, "s0", ring=ring)
    await ledger.migrate()
    await ledger.start()
    await live_a_little(ledger)
    await ledger.close()
    assert (await verify(dsn, ring)).problem is None
    connection = await unchecked(dsn)
    unseen = []

    for table, column, kind in await columns(connection):
        if (table, "*") in EXCEPTIONS or (table, column) in EXCEPTIONS:
            continue
        assert await connection.fetchval(f"select count(*) from {table}"), f"{table} is untried"
        random = f"select ctid from {table} order by random() limit 1"
        changing = (
            f'update {table} set "{column}" = {another(kind, column)} '
            f"where ctid = ({random}) returning *"
        )
        saved = await connection.fetch(f"select * from {table}")
        changed = dict((await connection.fetch(changing))[0])
        report = await verify(dsn, ring)
        if report.problem is None:
            unseen.append((table, column, changed))
        # Put everything back, without knowing which row it was.
        await connection.execute(f"delete from {table}")
        await connection.copy_records_to_table(
            table, records=[tuple(row) for row in saved], columns=list(saved[0].keys())
        )

    assert not unseen, json.dumps(unseen, default=str)
    assert (await verify(dsn, ring)).problem is None
    await connection.close()


async def test_a_rewritten_chain_is_given_away_by_its_receipts(dsn: str, ring: KeyRing) -> None:
    ledger = Ledger.open(dsn, "s0", ring=ring)
    await ledger.migrate()
    await ledger.start()
    await live_a_little(ledger)
    await ledger.close()
    end = (await verify(dsn, ring)).end
    # Whoever can write the program's own tables can let it write another past, from the start.
    forged = Ledger.open(dsn, "s0", ring=KeyRing({"k1": b"not the ledger's key, but as long"}))
    connection = await asyncpg.connect(dsn)
    for table in ("entries", "transfers", "holds", "grants", "figures", "accounts", "head"):
        await connection.execute(f"truncate {table}")
    await connection.execute(
        "insert into head values (0, 's0', 0, 0, decode(repeat('00', 32), 'hex'), 0)"
    )
    await connection.execute(
        "insert into accounts select unnest(array['system/issuance', 'system/revenue', "
        "'system/breakage']), 0, 0, null, 'open', 1, '{}', null, 0, null, false"
    )
    await connection.execute("insert into figures select id, 0, 1, 0, 0 from accounts")
    await connection.close()
    await forged.start()
    await live_a_little(forged)
    await forged.close()

    assert (await verify(dsn)).problem is None
    problem = (await verify(dsn, ring)).problem
    assert problem is not None
    assert "receipt" in problem
    assert end is not None
    problem = (await verify(dsn, None, end)).problem
    assert problem is not None
    assert "hash" in problem


async def test_a_cut_off_end_is_seen_by_whoever_recorded_it(dsn: str, ring: KeyRing) -> None:
    ledger = Ledger.open(dsn, "s0", ring=ring)
    await ledger.migrate()
    await ledger.start()
    await live_a_little(ledger)
    before = (await verify(dsn)).end
    assert before is not None
    await perform(ledger.batcher, "me", "last", OpenAccount(id="z"))
    receipt = (await perform(ledger.batcher, "me", "last", OpenAccount(id="z"))).receipt
    await ledger.close()
    after = (await verify(dsn, ring, None, receipt)).end
    assert after is not None
    assert after.position == before.position + 1
    connection = await asyncpg.connect(dsn)
    await connection.execute("delete from entries where position = $1", after.position)
    await connection.execute("delete from accounts where id = 'z'")
    await connection.execute("delete from figures where account = 'z'")
    await connection.execute(
        "update head set position = $1, hash = $2, at = (select max(at) from entries)",
        before.position,
        before.hash,
    )
    await connection.close()

    assert (await verify(dsn)).problem is None
    problem = (await verify(dsn, None, after)).problem
    assert problem is not None
    assert "its end is missing" in problem
    assert (await verify(dsn, ring, None, receipt)).receipt_at is None
    wrong = Recorded(before.position, bytes(32))
    assert (await verify(dsn, None, wrong)).problem is not None


async def test_a_replay_has_the_receipt_of_the_first_answer(dsn: str, ring: KeyRing) -> None:
    ledger = Ledger.open(dsn, "s0", ring=ring)
    await ledger.migrate()
    await ledger.start()
    other = Ledger.open(dsn, "s0", ring=ring)
    await other.start()

    first = await perform(ledger.batcher, "me", "k", OpenAccount(id="a"))
    again = await perform(other.batcher, "me", "k", OpenAccount(id="a"))

    assert first.receipt is not None
    assert again.replayed
    assert again.receipt == first.receipt
    assert (await verify(dsn, ring, None, first.receipt)).receipt_at == 1
    await asyncio.gather(ledger.close(), other.close())
