"""What travels between memory and a shard's Postgres: rows as JSON arrays, one argument a table.

Their columns are those of `sql/`, in its order. Pure.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from shieldx.ledger.model import fill_purse
from shieldx.ledger.records import (
    Account,
    Changes,
    Entry,
    Head,
    Hold,
    Lot,
    Part,
    Posted,
    Remembered,
    State,
    transfer_id,
)

_encode = msgspec.json.Encoder(order="deterministic").encode


def learn(state: State, said: Mapping[str, Any]) -> None:
    """Let `state` know what `load` has said."""
    position, seq, digest, at = said["head"]
    state.head = Head(position, seq, bytes.fromhex(digest), at)
    state.accounts |= dict.fromkeys(said["wanted"])
    state.accounts |= {row[0]: Account(*row) for row in said["accounts"]}
    state.lots |= {row[0]: Lot(*row) for row in said["lots"]}
    of_account: dict[str, list[str]] = {}
    for row in said["lots"]:
        of_account.setdefault(row[1], []).append(row[0])
    for account, lots in of_account.items():
        fill_purse(state, account, lots)
    state.holds |= {row[0]: _hold(row) for row in said["holds"]}
    state.posted |= {transfer_id(state.shard, row[0]): _posted(row) for row in said["posted"]}
    state.references |= {
        reference: transfer_id(state.shard, number) for reference, number in said["references"]
    }
    state.keys |= {
        (caller, key): Remembered(
            base64.b64decode(operation), code, base64.b64decode(answer), receipt
        )
        for caller, key, operation, code, answer, receipt in said["keys"]
    }
    state.due = {}
    for row in said["due"]:
        state.due.setdefault(row[1], []).append(_hold(row))


def _parts(pairs: Sequence[tuple[str, int]]) -> tuple[Part, ...]:
    return tuple(Part(*pair) for pair in pairs)


def _hold(row: Sequence[Any]) -> Hold:
    return replace(Hold(*row), claims=_parts(row[-1]))


def _posted(row: Sequence[Any]) -> Posted:
    return replace(Posted(*row), burnt=_parts(row[-1]))


def seq_of(transfer: str, shard: str) -> int | None:
    """Return the number in a transfer's id; None if it cannot be one of this shard."""
    number = transfer.removeprefix(f"tx_{shard}_")
    fits = number != transfer and number.isascii() and number.isdigit() and len(number) < 19  # noqa: PLR2004 - what a bigint always holds.
    return int(number) if fits else None


def rows_of(state: State, changes: Changes) -> list[object]:
    """Return what `store` takes: changes as rows, beside what of them `state` had before."""
    head = changes.head
    figures, accounts = _accounts(state, changes)
    lots = [
        (
            g.id,
            lot.version if (lot := state.lots.get(g.id)) else 0,
            g.account,
            g.amount,
            g.remaining,
            g.held,
            g.priority,
            g.effective_at,
            g.expires_at,
            g.state,
            g.created,
            g.version,
            g.metadata,
        )
        for g in changes.lots.values()
    ]
    reversals = [
        (posted.seq, known.reversed if (known := state.posted.get(name)) else 0, posted.reversed)
        for name, posted in changes.posted.items()
        if posted.reversed
    ]
    due = {hold.id: hold for holds in state.due.values() for hold in holds}
    holds = [
        (
            h.id,
            held.version if (held := due.get(h.id) or state.holds.get(h.id)) else 0,
            int(h.id.rsplit("_", 1)[1]),
            h.account,
            h.to,
            h.amount,
            h.remaining,
            h.committed,
            h.state,
            h.expires_at,
            h.version,
            h.metadata,
            h.claims or None,
        )
        for h in changes.holds.values()
    ]
    groups = (figures, accounts, lots, changes.movements, reversals, holds)
    return [
        state.head.position,
        head.position,
        head.seq,
        head.hash,
        head.at,
        *(_encode(rows).decode() for rows in groups),
        *_chained(changes.entries),
    ]


def _accounts(
    state: State, changes: Changes
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Return the rows of accounts: of those that only move credits, which most do, and the others.

    The former are told by their transfers, and are the beginning of a row of the others.
    """
    moved: dict[str, int] = {}
    for m in changes.movements:
        moved[m.debit], moved[m.credit] = m.debit_version, m.credit_version
    figures: list[tuple[object, ...]] = []
    accounts: list[tuple[object, ...]] = []
    for a in changes.accounts.values():
        before = state.accounts.get(a.id)
        version, had = (before.version, before.balance) if before else (0, 0)
        told = moved.get(a.id) == a.version
        if told and before and _differ_in_figures_only(before, a):
            figures.append((a.id, version, a.balance - had, a.balance, a.held, a.version))
            continue
        accounts.append(
            (
                a.id,
                version,
                a.balance - had,
                a.balance,
                a.held,
                a.version,
                a.floor,
                a.state,
                a.metadata,
                a.next_due,
                a.lots,
                a.alert,
                a.alerted,
                a.version > version and not told,
            )
        )
    return figures, accounts


def _differ_in_figures_only(one: Account, other: Account) -> bool:
    return (
        one.state == other.state
        and one.next_due == other.next_due
        and one.lots == other.lots
        and one.alerted == other.alerted
        and one.alert == other.alert
        and one.floor == other.floor
        and one.metadata is other.metadata
    )


def _chained(entries: Sequence[Entry]) -> tuple[str, bytes]:
    """Return the entries' rows, and their bytes that the rows point into."""
    rows: list[tuple[object, ...]] = []
    texts: list[bytes] = []
    begins = 1
    for e in entries:
        operation, answer = len(e.operation), len(e.answer)
        rows.append((e.position, e.caller, e.key, e.code, e.receipt, begins, operation, answer))
        texts += (e.hash, e.operation, e.answer)
        begins += len(e.hash) + operation + answer
    return _encode(rows).decode(), b"".join(texts)
