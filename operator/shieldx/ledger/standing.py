"""Verify the rows that say how things stand, now that it is known how they must stand."""

from collections.abc import Mapping
from typing import Final, Protocol

import asyncpg

from shieldx.ledger.cells import LENGTH, Columns, difference, split
from shieldx.ledger.copies import TRAILER, Snapshot, copying
from shieldx.ledger.findings import MismatchError
from shieldx.ledger.links import Chained
from shieldx.ledger.retelling import Books
from shieldx.ledger.told import ACCOUNT, HOLD, LOT

PREFETCH: Final = 5000
_NAME: Final = 6  # The first cell of a row is its id: a count of 2 bytes, its length of 4.
# Only a tampered row has no id.
HOLDS: Final = """
    select coalesce(id, ''), opened, amount, remaining, committed, expires_at, version, account,
        "to", state, metadata, claims
    from holds order by id
"""
LOTS: Final = """
    select coalesce(id, ''), amount, remaining, held, priority::bigint, effective_at, created,
        version, account, expires_at, state, metadata
    from grants order by id
"""
ACCOUNTS: Final = """
    select coalesce(id, ''), balance, held, version, lots::bigint, floor, alert, state, metadata,
        alerted
    from accounts order by id
"""
REVERSED: Final = "select seq, reversed from transfers where reversed <> 0 or reversed is null"
# Of accounts, holds and lots that are as they must be: whose time nobody would notice.
OVERLOOKED: Final = """
    select a.id, a.next_due, due.first
    from accounts as a
    inner join (
        select moment.account, min(moment.at) as first
        from (
            select account, expires_at as at from holds where state = 'held'
            union all
            select account, case state when 'pending' then effective_at else expires_at end
            from grants where state in ('pending', 'active')
        ) as moment
        where moment.at is not null
        group by moment.account
    ) as due on due.account = a.id
    where a.next_due is null or a.next_due > due.first
    order by a.id
    limit 1
"""


class _Told(Protocol):
    id: str

    def row(self) -> bytes: ...


async def compare_standing(
    snapshot: Snapshot,
    session: asyncpg.Connection,
    head: asyncpg.Record,
    chained: Chained,
    books: Books,
) -> None:
    """Compare head, holds, lots, accounts and what is reversed; MismatchError names the first."""
    _same("head", "position", head["position"], chained.position)
    _same("head", "hash", head["hash"].hex(), chained.hash.hex())
    _same("head", "seq", head["seq"], books.transfers)
    _same("head", "at", head["at"], chained.at)
    if total := sum(account.balance for account in books.accounts.values()):
        raise MismatchError(f"the balances add up to {total}, not to 0")
    for account in books.accounts.values():
        available = account.balance - account.held
        if account.floor is not None and available < account.floor:
            raise MismatchError(f"account {account.id}: {available} is available, below its floor")
    await _compare(snapshot, HOLDS, "holds", HOLD, books.holds)
    await _compare(snapshot, LOTS, "grants", LOT, books.lots)
    await _compare(snapshot, ACCOUNTS, "accounts", ACCOUNT, books.accounts)
    if (row := await session.fetchrow(OVERLOOKED)) is not None:
        name, noted, moment = row
        raise MismatchError(f"account {name}: next_due is {noted}, something is due at {moment}")
    await _compare_reversed(session, books.reversed)


async def _compare(
    snapshot: Snapshot, query: str, table: str, columns: Columns, told: Mapping[str, _Told]
) -> None:
    kind = table.removesuffix("s")
    missing = dict(told)
    async with copying(snapshot, query) as copy:
        while chunk := await copy.chunk():
            place, end = 0, len(chunk) - TRAILER
            while place < end:
                (size,) = LENGTH.unpack_from(chunk, place + 2)
                name = chunk[place + _NAME : place + _NAME + size].decode(errors="replace")
                one = missing.pop(name, None)
                if one is None:
                    how = "it is there twice" if name in told else "no entry of the chain made it"
                    raise MismatchError(f"{kind} {name}: {how}")
                row = one.row()
                if chunk.startswith(row, place):
                    place += len(row)
                    continue
                stored, place = split(chunk, place)
                if different := difference(columns, stored, split(row)[0]):
                    raise MismatchError(f"{kind} {name}: {different}")
    for name in missing:
        raise MismatchError(f"{table}: {name} is missing")


async def _compare_reversed(session: asyncpg.Connection, told: Mapping[int, int]) -> None:
    missing = dict(told)
    async for row in session.cursor(REVERSED, prefetch=PREFETCH):
        _same(f"transfer {row['seq']}", "reversed", row["reversed"], missing.pop(row["seq"], 0))
    for seq, amount in missing.items():
        raise MismatchError(f"transfer {seq}: reversed is 0, must be {amount}")


def _same(where: str, name: str, stored: object, must: object) -> None:
    if stored != must:
        raise MismatchError(f"{where}: {name} is {stored!r}, must be {must!r}")
