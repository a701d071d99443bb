"""What is known no longer is forgotten by its names, so that it is read again; pure.

A process that was overtaken knows most of its shard as well as before: only what the entries since
then touched is of the past. They name it, and whatever bears one of those names is forgotten. A
name too many costs a row that is read again, so names are taken from wherever they stand; what no
entry names is known by rule: the lots of an account that is named, the ledger's own accounts, and
the transfers since then, whose numbers follow each other.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from shieldx.ledger.operations import BREAKAGE, ISSUANCE, REVENUE
from shieldx.ledger.records import Changes, Head, Remembered, State, transfer_id

_decode: Final = msgspec.json.decode


class Passed(NamedTuple):
    """An entry that another process has chained."""

    caller: str
    key: str | None
    operation: bytes
    code: str
    answer: bytes
    receipt: str | None


def catch_up(state: State, entries: Sequence[Passed], head: Head) -> None:
    """Let `state` be as of `head`, to which these entries lead from its own; it knows less then."""
    names = {ISSUANCE, REVENUE, BREAKAGE}
    names |= {
        transfer_id(state.shard, number) for number in range(state.head.seq + 1, head.seq + 1)
    }
    for entry in entries:
        names.update(_names(_decode(entry.operation)))
        names.update(_names(_decode(entry.answer)))
        if entry.key is not None:
            state.keys[entry.caller, entry.key] = Remembered(
                entry.operation, entry.code, entry.answer, entry.receipt
            )
    for name in names:
        _forget_account(state, name)
        if lot := state.lots.pop(name, None):
            _forget_account(state, lot.account)
        state.holds.pop(name, None)
        state.posted.pop(name, None)
        state.references.pop(name, None)
    state.due = {}
    state.head = head


def retract(state: State, changes: Changes, head: Head) -> None:
    """Let `state` be as of `head` again, before these changes were merged; it knows less then."""
    for lot in changes.lots.values():
        _forget_account(state, lot.account)
        state.lots.pop(lot.id, None)
    for name in changes.accounts:
        _forget_account(state, name)
    for hold in changes.holds:
        state.holds.pop(hold, None)
    for transfer in changes.posted:
        state.posted.pop(transfer, None)
    for reference in changes.references:
        state.references.pop(reference, None)
    for key in changes.keys:
        state.keys.pop(key, None)
    state.due = {}
    state.head = head


def _forget_account(state: State, name: str) -> None:
    """Forget an account with its open lots: of a known account all of them are known."""
    state.accounts.pop(name, None)
    for grant in state.purses.pop(name, ()):
        state.lots.pop(grant, None)


def _names(said: Any) -> Iterator[str]:
    """Return every string of a JSON value, keys of objects included, but for metadata."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, list):
        for one in said:
            yield from _names(one)
    elif isinstance(said, dict):
        for key, value in said.items():
            if key != "metadata":
                yield key
                yield from _names(value)
