"""Verify a shard offline: re-derive the chain and everything that follows from it.

Reads one consistent snapshot, streaming. What the entries say was done is done again by
`retelling`, and every cell of every table is compared with what comes out. The first thing that
does not fit is named.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import msgspec

from shieldx.ledger.chain import GENESIS, link
from shieldx.ledger.past import Past, PastError
from shieldx.ledger.postgres import connect
from shieldx.ledger.retelling import Books, Row, UntoldError
from shieldx.ledger.seals import KeyRing, SealError

BATCH: Final = 5000
JSON: Final = frozenset({"metadata", "burnt", "restored", "claims"})
_decode = msgspec.json.decode


class _MismatchError(Exception):
    """What is stored does not follow from what was decided."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """How far the chain was known to reach by somebody outside of the database."""

    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """How much was verified, and the first problem, or None.

    `sealed` receipts were checked; `end` is what to record elsewhere; `receipt_at` is the entry
    whose receipt was asked for.
    """

    entries: int
    transfers: int
    accounts: int
    holds: int
    grants: int
    sealed: int
    problem: str | None
    end: Recorded | None = None
    receipt_at: int | None = None


async def verify(
    dsn: str,
    ring: KeyRing | None = None,
    recorded: Recorded | None = None,
    receipt: str | None = None,
) -> Report:
    """Return what was verified; ShardUnavailableError if there is no database to read.

    With a `ring` every receipt is checked too; with what was `recorded` elsewhere, that nothing
    was cut off the end.
    """
    connection = await connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _Verification(connection, ring, recorded, receipt).run()
    finally:
        await connection.close()


class _Verification:
    def __init__(
        self,
        connection: asyncpg.Connection,
        ring: KeyRing | None,
        recorded: Recorded | None,
        receipt: str | None,
    ) -> None:
        self._connection = connection
        self._ring = ring
        self._recorded = recorded
        self._receipt = receipt
        self._receipt_at: int | None = None
        self._books = Books("")
        self._position = 0
        self._at = 0
        self._sealed = 0
        self._hash = GENESIS

    async def run(self) -> Report:
        problem = None
        head = await self._connection.fetchrow("select * from head where id = 0")
        if head is None:
            return Report(0, 0, 0, 0, 0, 0, "head: its row is missing")
        try:
            self._books = Books(head["shard"])
            await self._read_chain()
            await self._compare(head)
        except (_MismatchError, PastError, UntoldError) as mismatch:
            problem = str(mismatch)
        books = self._books
        return Report(
            self._position,
            books.transfers,
            len(books.accounts),
            len(books.holds),
            len(books.lots),
            self._sealed,
            problem,
            Recorded(self._position, self._hash),
            self._receipt_at,
        )

    async def _read_chain(self) -> None:
        stored = self._rows("select * from transfers order by seq")
        past = Past(self._books, self._rows("select * from figures order by at, account, version"))
        async for entry in self._rows("select * from entries order by position"):
            self._link(entry)
            operation = _decode(entry["operation"])
            try:
                made = self._books.retell(
                    entry["position"],
                    entry["at"],
                    operation,
                    entry["code"],
                    await self._original(operation),
                )
            except UntoldError as problem:
                raise _MismatchError(f"entry {entry['position']}: {problem}") from problem
            for must in made:
                _compare_transfer(entry, await anext(stored, None), must)
            self._compare_answer(entry, made)
            await past.follow(entry["at"], made)
        await past.finish()
        async for extra in stored:
            raise _MismatchError(f"transfer {extra['seq']}: no entry of the chain made it")
        if self._recorded and self._position < self._recorded.position:
            raise _MismatchError(
                f"the chain ends at {self._position}, but it has reached "
                f"{self._recorded.position}: its end is missing"
            )

    def _link(self, entry: asyncpg.Record) -> None:
        """Go on if the entry is the next link of the chain."""
        position = self._position + 1
        if entry["position"] != position:
            raise _MismatchError(
                f"entry {position} is missing: the next one is {entry['position']}"
            )
        fields = ("position", "at", "caller", "key", "operation", "code", "answer")
        digest = link(self._hash, *(entry[name] for name in fields))
        if digest != entry["hash"]:
            raise _MismatchError(
                f"entry {position}: its hash is {entry['hash'].hex()}, "
                f"its content and the entry before it give {digest.hex()}"
            )
        if entry["at"] < self._at:
            raise _MismatchError(f"entry {position}: it is older than the entry before it")
        if self._recorded and position == self._recorded.position != 0:
            _same(f"entry {position}", "hash", digest.hex(), self._recorded.hash.hex())
        self._check_receipt(entry, digest)
        self._position, self._at, self._hash = position, entry["at"], digest

    def _check_receipt(self, entry: asyncpg.Record, digest: bytes) -> None:
        if self._ring is None:
            return
        where, receipt = f"entry {entry['position']}", entry["receipt"]
        if receipt is None:
            if self._sealed:
                raise _MismatchError(f"{where}: its receipt is missing")
            return  # From before this ledger had keys.
        try:
            genuine = self._ring.genuine(receipt, digest)
        except SealError as problem:
            raise _MismatchError(f"{where}: {problem}") from problem
        if not genuine:
            raise _MismatchError(f"{where}: its receipt was not made with the ledger's key")
        self._sealed += 1
        if receipt == self._receipt:
            self._receipt_at = entry["position"]

    async def _original(self, operation: Row) -> Row | None:
        """Return the transfer that a reversal reverses, which has been compared before."""
        if operation["type"] != "reverse":
            return None
        number = operation["transfer"].rsplit("_", 1)[1]
        query = "select seq, debit, credit, amount, burnt from transfers where seq = $1"
        row = await self._connection.fetchrow(query, int(number)) if number.isdigit() else None
        return None if row is None else {**row, "burnt": row["burnt"] and _decode(row["burnt"])}

    def _compare_answer(self, entry: asyncpg.Record, made: list[Row]) -> None:
        """Compare what was answered with what was done."""
        if entry["code"] != "created":
            return
        where, answer = f"entry {entry['position']}", _decode(entry["answer"])
        for name, said in answer.get("balances", {}).items():
            account = self._books.account(name)
            must = {column: account[column] for column in ("balance", "held", "version")}
            must["available"] = account["balance"] - account["held"]
            _same(where, f"balances of {name}", said, must)
        if made and "seq" in answer:
            _same(where, "seq", answer["seq"], made[0]["seq"])

    async def _compare(self, head: asyncpg.Record) -> None:
        """Compare the rows that say how things stand with how they must stand."""
        books = self._books
        _same("head", "position", head["position"], self._position)
        _same("head", "hash", head["hash"].hex(), self._hash.hex())
        _same("head", "seq", head["seq"], books.transfers)
        _same("head", "at", head["at"], self._at)
        if total := sum(account["balance"] for account in books.accounts.values()):
            raise _MismatchError(f"the balances add up to {total}, not to 0")
        first: dict[str, int] = {}
        await self._compare_rows("hold", books.holds, "holds", books.hold, _soonest(first))
        await self._compare_rows("grant", books.lots, "grants", books.lot, _soonest(first))
        await self._compare_rows(
            "account", books.accounts, "accounts", books.account, _derived(first)
        )
        query = "select seq, reversed from transfers where reversed <> 0 order by seq"
        async for row in self._rows(query):
            must = books.reversed.pop(row["seq"], 0)
            _same(f"transfer {row['seq']}", "reversed", row["reversed"], must)
        for seq, amount in books.reversed.items():
            raise _MismatchError(f"transfer {seq}: reversed is 0, must be {amount}")

    async def _compare_rows(
        self,
        kind: str,
        told: Mapping[str, Row],
        table: str,
        find: Callable[[str], Row],
        look: Callable[[str, asyncpg.Record], None],
    ) -> None:
        count = 0
        async for row in self._rows(f"select * from {table} order by id"):  # noqa: S608 - ours.
            where, count = f"{kind} {row['id']}", count + 1
            for name, must in find(row["id"]).items():
                _same(where, name, _value(row, name), must)
            look(where, row)
        _same(table, "count", count, len(told))

    async def _rows(self, query: str) -> AsyncIterator[asyncpg.Record]:
        async for row in self._connection.cursor(query, prefetch=BATCH):
            yield row


def _compare_transfer(entry: asyncpg.Record, row: asyncpg.Record | None, must: Row) -> None:
    where = f"transfer {must['seq']} (entry {entry['position']})"
    if row is None or row["seq"] != must["seq"]:
        raise _MismatchError(f"entry {entry['position']}: its transfer {must['seq']} is missing")
    for name, value in must.items():
        _same(where, name, _value(row, name), value)


def _soonest(first: dict[str, int]) -> Callable[[str, asyncpg.Record], None]:
    """Note when time will first change something about each account."""

    def look(_: str, row: asyncpg.Record) -> None:
        moment = None
        match row["state"]:
            case "held" | "active":
                moment = row["expires_at"]
            case "pending":
                moment = row["effective_at"]
            case _:
                pass
        if moment is not None:
            first[row["account"]] = min(first.get(row["account"], moment), moment)

    return look


def _derived(first: Mapping[str, int]) -> Callable[[str, asyncpg.Record], None]:
    """Compare what an account's row derives from others."""

    def look(where: str, row: asyncpg.Record) -> None:
        moment, noted = first.get(row["id"]), row["next_due"]
        if moment is not None and (noted is None or noted > moment):
            raise _MismatchError(f"{where}: next_due is {noted}, something is due at {moment}")
        available = row["balance"] - row["held"]
        below = row["alert"] is not None and available < row["alert"]
        _same(where, "alerted", row["alerted"], below)
        if row["floor"] is not None and available < row["floor"]:
            raise _MismatchError(f"{where}: {available} is available, below its floor")

    return look


def _value(row: asyncpg.Record, name: str) -> Any:
    value = row[name]
    return _decode(value) if name in JSON and value is not None else value


def _same(where: str, name: str, stored: object, must: object) -> None:
    if stored != must:
        raise _MismatchError(f"{where}: {name} is {stored!r}, must be {must!r}")
