"""Verify a shard offline: re-derive the chain and everything that follows from it.

Reads one consistent snapshot, streaming. What an entry says was done is done again by the plain
interpreter below, which shares no code with `model` (the engine is not its own judge), and the
outcome is compared with every row of every table. The first thing that does not fit is named.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import msgspec

from shieldx.ledger.chain import GENESIS, link
from shieldx.ledger.postgres import connect

BATCH: Final = 5000
_decode = msgspec.json.decode


class _MismatchError(Exception):
    """What is stored does not follow from what was decided."""


@dataclass(frozen=True, slots=True)
class Report:
    """How much was verified, and the first problem, or None."""

    entries: int
    transfers: int
    accounts: int
    holds: int
    problem: str | None


@dataclass(slots=True)
class _Account:
    balance: int = 0
    held: int = 0
    state: str = "open"
    floor: int | None = None
    metadata: Any = field(default_factory=dict)
    version: int = 1


@dataclass(slots=True)
class _Books:
    """What must be, as far as the chain has been followed."""

    shard: str
    accounts: dict[str, _Account] = field(default_factory=dict)
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)
    transfers: int = 0
    reversed: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("system/issuance", "system/revenue", "system/breakage"):
            self.accounts[name] = _Account()


async def verify(dsn: str) -> Report:
    """Return what was verified; ShardUnavailableError if there is no database to read."""
    connection = await connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _verify(connection)
    finally:
        await connection.close()


async def _verify(connection: asyncpg.Connection) -> Report:
    (head,) = await connection.fetch("select * from head where id = 0")
    books, seen, problem = _Books(head["shard"]), 0, None
    previous, last_at = GENESIS, 0
    try:
        movements = _rows(connection, "select * from transfers order by seq")
        async for entry in _rows(connection, "select * from entries order by position"):
            digest = _check(entry, seen + 1, previous, last_at)
            await _follow(books, entry, movements)
            previous, last_at, seen = digest, entry["at"], seen + 1
        await _nothing_left(movements)
        await _compare(connection, books, head, seen, previous)
    except _MismatchError as mismatch:
        problem = str(mismatch)
    return Report(seen, books.transfers, len(books.accounts), len(books.holds), problem)


def _check(entry: asyncpg.Record, position: int, previous: bytes, last_at: int) -> bytes:
    """Return the entry's hash if it is the next link of the chain."""
    if entry["position"] != position:
        raise _MismatchError(f"entry {position} is missing: the next one is {entry['position']}")
    fields = ("position", "at", "caller", "key", "operation", "code", "answer")
    digest = link(previous, *(entry[name] for name in fields))
    if digest != entry["hash"]:
        raise _MismatchError(
            f"entry {position}: its hash is {entry['hash'].hex()}, "
            f"its content and the entry before it give {digest.hex()}"
        )
    if entry["at"] < last_at:
        raise _MismatchError(f"entry {position}: it is older than the entry before it")
    return digest


async def _nothing_left(movements: AsyncIterator[asyncpg.Record]) -> None:
    async for extra in movements:
        raise _MismatchError(f"transfer {extra['seq']}: no entry of the chain made it")


async def _rows(connection: asyncpg.Connection, query: str) -> AsyncIterator[asyncpg.Record]:
    async for row in connection.cursor(query, prefetch=BATCH):
        yield row


async def _follow(
    books: _Books, entry: asyncpg.Record, movements: AsyncIterator[asyncpg.Record]
) -> None:
    """Do again what the entry says was done."""
    if entry["code"] != "created":
        return
    operation, answer = _decode(entry["operation"]), _decode(entry["answer"])
    if operation["type"] == "batch":
        return  # Its operations have entries of their own before it.
    where = f"entry {entry['position']}"
    match operation["type"]:
        case "open":
            books.accounts[operation["id"]] = _Account(
                floor=operation.get("floor", 0), metadata=operation.get("metadata", {})
            )
        case "change":
            account = _account(books, operation["id"], where)
            account.state = operation.get("state") or account.state
            if operation.get("metadata") is not None:
                account.metadata = operation["metadata"]
            account.version += 1
        case "transfer" | "reverse":
            await _move(books, where, entry, answer, movements)
        case "hold":
            _account(books, operation["account"], where).held += operation["amount"]
            _account(books, operation["account"], where).version += 1
            books.holds[answer["id"]] = {
                "account": answer["account"],
                "to": answer["to"],
                "amount": operation["amount"],
                "remaining": operation["amount"],
                "committed": 0,
                "state": "held",
                "expires_at": answer["expires_at"],
                "metadata": answer["metadata"],
            }
        case "commit":
            hold = _hold(books, operation["hold"], where)
            before, amount = hold["committed"], operation.get("amount") or hold["remaining"]
            left = 0 if operation.get("final", True) else hold["remaining"] - amount
            _account(books, hold["account"], where).held -= hold["remaining"] - left
            hold["committed"] += amount
            hold["remaining"] = left
            hold["state"] = "held" if left else "committed"
            transfer = {"id": answer["transfer"], "committed_before": before}
            await _move(books, where, entry, transfer, movements)
        case "void" | "expire":
            hold = _hold(books, operation["hold"], where)
            account = _account(books, hold["account"], where)
            account.held -= hold["remaining"]
            account.version += 1
            hold["remaining"] = 0
            hold["state"] = "voided" if operation["type"] == "void" else "expired"
        case unknown:
            raise _MismatchError(f"{where}: operation {unknown} is unknown to this program")


async def _move(
    books: _Books,
    where: str,
    entry: asyncpg.Record,
    answer: dict[str, Any],
    movements: AsyncIterator[asyncpg.Record],
) -> None:
    """Take the next transfer row, which must be the one that this entry made."""
    row = await anext(movements, None)
    books.transfers += 1
    if row is None or row["seq"] != books.transfers:
        raise _MismatchError(f"{where}: its transfer {books.transfers} is missing")
    where = f"transfer {row['seq']} ({where})"
    debit, credit = _account(books, row["debit"], where), _account(books, row["credit"], where)
    debit.balance -= row["amount"]
    credit.balance += row["amount"]
    debit.version += 1
    credit.version += 1
    said = _said(books, entry, answer)
    _same(where, "id", f"tx_{books.shard}_{row['seq']}", answer["id"])
    _same(where, "position", row["position"], entry["position"])
    _same(where, "at", row["at"], entry["at"])
    _same(where, "metadata", _decode(row["metadata"]), said["metadata"])
    _same(where, "balances", _balances(row), said["balances"])
    for name in ("debit", "credit", "amount", "kind", "reference"):
        _same(where, name, row[name], said.get(name))
    reverses = said.get("reverses")
    stored = row["reverses"]
    _same(where, "reverses", stored and f"tx_{books.shard}_{stored}", reverses)
    if reverses:
        books.reversed[reverses] = books.reversed.get(reverses, 0) + row["amount"]
    for side, account in (("debit", debit), ("credit", credit)):
        for name in ("balance", "held", "version"):
            _same(where, f"{side}_{name}", row[f"{side}_{name}"], getattr(account, name))
        if account.floor is not None and account.balance - account.held < account.floor:
            raise _MismatchError(f"{where}: account {row[side]} went below its floor")


def _said(books: _Books, entry: asyncpg.Record, answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the entry says of its transfer: the answer, or that of a hold's commit."""
    operation = _decode(entry["operation"])
    if operation["type"] != "commit":
        return answer
    hold, full = books.holds[operation["hold"]], _decode(entry["answer"])
    return {
        "debit": hold["account"],
        "credit": hold["to"],
        "amount": full["committed_amount"] - answer["committed_before"],
        "kind": "commit",
        "metadata": full["metadata"],
        "balances": full["balances"],
    }


async def _compare(
    connection: asyncpg.Connection,
    books: _Books,
    head: asyncpg.Record,
    position: int,
    digest: bytes,
) -> None:
    """Compare the rows that say how things stand with how they must stand."""
    _same("head", "position", head["position"], position)
    _same("head", "hash", head["hash"].hex(), digest.hex())
    _same("head", "seq", head["seq"], books.transfers)
    if total := sum(account.balance for account in books.accounts.values()):
        raise _MismatchError(f"the balances add up to {total}, not to 0")
    count = 0
    async for row in _rows(connection, "select * from accounts order by id"):
        where, count = f"account {row['id']}", count + 1
        account = _account(books, row["id"], where)
        for name in ("balance", "held", "state", "floor", "version"):
            _same(where, name, row[name], getattr(account, name))
        _same(where, "metadata", _decode(row["metadata"]), account.metadata)
    _same("accounts", "count", count, len(books.accounts))
    count = 0
    first: dict[str, int] = {}
    async for row in _rows(connection, "select * from holds order by opened"):
        where, count = f"hold {row['id']}", count + 1
        hold = _hold(books, row["id"], where)
        for name, value in hold.items():
            stored = _decode(row[name]) if name == "metadata" else row[name]
            _same(where, name, stored, value)
        if row["state"] == "held":
            earliest = first.get(row["account"], row["expires_at"])
            first[row["account"]] = min(earliest, row["expires_at"])
    _same("holds", "count", count, len(books.holds))
    await _compare_derived(connection, books, first)


async def _compare_derived(
    connection: asyncpg.Connection, books: _Books, first_expiry: dict[str, int]
) -> None:
    async for row in _rows(connection, "select id, next_expiry from accounts"):
        must = first_expiry.get(row["id"])
        if must is not None and (row["next_expiry"] is None or row["next_expiry"] > must):
            raise _MismatchError(
                f"account {row['id']}: next_expiry is {row['next_expiry']}, "
                f"a hold of it expires at {must}"
            )
    async for row in _rows(connection, "select seq, reversed from transfers where reversed <> 0"):
        name = f"tx_{books.shard}_{row['seq']}"
        _same(f"transfer {row['seq']}", "reversed", row["reversed"], books.reversed.pop(name, 0))
    for name, amount in books.reversed.items():
        raise _MismatchError(f"transfer {name}: reversed is 0, must be {amount}")


def _account(books: _Books, name: str, where: str) -> _Account:
    if (account := books.accounts.get(name)) is None:
        raise _MismatchError(f"{where}: no entry of the chain opened account {name}")
    return account


def _hold(books: _Books, name: str, where: str) -> dict[str, Any]:
    if (hold := books.holds.get(name)) is None:
        raise _MismatchError(f"{where}: no entry of the chain made hold {name}")
    return hold


def _balances(row: asyncpg.Record) -> dict[str, dict[str, int]]:
    return {
        row[side]: {
            "balance": row[f"{side}_balance"],
            "held": row[f"{side}_held"],
            "available": row[f"{side}_balance"] - row[f"{side}_held"],
            "version": row[f"{side}_version"],
        }
        for side in ("debit", "credit")
    }


def _same(where: str, name: str, stored: object, must: object) -> None:
    if stored != must:
        raise _MismatchError(f"{where}: {name} is {stored!r}, must be {must!r}")
