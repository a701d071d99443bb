"""The shapes of answers: what OpenAPI is generated from, and what tests hold answers to.

Nothing is encoded from these: `shieldx.sidecar.answers` writes what the ledger has stored.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class Balances(msgspec.Struct):
    """What an account has after an operation."""

    balance: int
    held: int
    available: int
    version: int


class AccountAnswer(msgspec.Struct):
    """An account."""

    id: str
    state: Literal["open", "frozen", "closed"]
    floor: int | None
    balance: int
    held: int
    available: int
    version: int
    available_below: int | None
    metadata: dict[str, Any]
    receipt: str | UnsetType = UNSET


class BalanceAnswer(msgspec.Struct):
    """An account's balance as of a moment; never used to authorise a debit."""

    account: str
    balance: int
    held: int
    available: int
    version: int
    as_of: str


class Part(msgspec.Struct):
    """So much of an amount, from one grant."""

    grant: str
    amount: int


class TransferAnswer(msgspec.Struct):
    """An immutable transfer, with what it left on the accounts that the caller may read.

    `burnt`: the grants that paid for it, in their order; credits without a grant paid the rest.
    `restored`: the grants that a reversal gave credits back to.
    """

    id: str
    seq: int
    debit: str
    credit: str
    amount: int
    kind: str
    at: str
    metadata: dict[str, Any]
    balances: dict[str, Balances] | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    reverses: str | UnsetType = UNSET
    burnt: list[Part] | UnsetType = UNSET
    restored: list[Part] | UnsetType = UNSET
    receipt: str | UnsetType = UNSET


class HoldAnswer(msgspec.Struct):
    """A hold; `transfer` is the id of what this commit moved."""

    id: str
    account: str
    to: str
    amount: int
    remaining: int
    state: Literal["held", "committed", "voided", "expired"]
    committed_amount: int
    expires_at: str
    metadata: dict[str, Any]
    balances: dict[str, Balances] | UnsetType = UNSET
    transfer: str | UnsetType = UNSET
    receipt: str | UnsetType = UNSET


class GrantAnswer(msgspec.Struct):
    """A grant; `held` of what remains is claimed by holds.

    Pending until it is effective, active, exhausted, expired or voided. `transfer` is the id of
    what this call moved, if it moved anything.
    """

    id: str
    account: str
    amount: int
    remaining: int
    held: int
    priority: int
    effective_at: str
    expires_at: str | None
    state: Literal["pending", "active", "exhausted", "expired", "voided"]
    metadata: dict[str, Any]
    balances: dict[str, Balances] | UnsetType = UNSET
    transfer: str | UnsetType = UNSET
    receipt: str | UnsetType = UNSET


class GrantPage(msgspec.Struct):
    """A page of grants; ask again with `cursor=<next>` until it is null."""

    items: list[GrantAnswer]
    next: str | None


class AlertAnswer(msgspec.Struct):
    """What an account must not fall below in silence."""

    account: str
    available_below: int | None
    balances: dict[str, Balances]
    receipt: str | UnsetType = UNSET


class NoteAnswer(msgspec.Struct):
    """A digest in the chain, at its position."""

    id: str
    kind: str
    digest: str
    position: int
    at: str
    receipt: str | UnsetType = UNSET


class Problem(msgspec.Struct):
    """A refusal (RFC 9457), with the facts of its code beside these members."""

    type: str
    title: str
    status: int
    code: str
    message: str


class Entry(msgspec.Struct):
    """One movement of an account: signed amount, and what it left."""

    seq: int
    transfer: str
    kind: str
    other: str
    amount: int
    balance: int
    held: int
    available: int
    version: int
    at: str


class EntryPage(msgspec.Struct):
    """A page of history; ask again with `cursor=<next>` until it is null."""

    items: list[Entry]
    next: str | None


class AccountPage(msgspec.Struct):
    """A page of accounts by id; ask again with `cursor=<next>` until it is null."""

    items: list[AccountAnswer]
    next: str | None


class EventData(msgspec.Struct):
    """What was asked in normal form, and what was answered."""

    operation: dict[str, Any]
    answer: dict[str, Any]


class Event(msgspec.Struct):
    """A CloudEvent 1.0; `id` is the same however often it is told."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    time: str
    datacontenttype: Literal["application/json"]
    data: EventData
    subject: str | UnsetType = UNSET


class EventPage(msgspec.Struct):
    """Events in their order; `next` is where to go on, now or later: it never ends."""

    items: list[Event]
    next: str


class TransferPage(msgspec.Struct):
    """The transfers of a reference."""

    items: list[TransferAnswer]
    next: str | None


class HoldPage(msgspec.Struct):
    """A page of holds; ask again with `cursor=<next>` until it is null."""

    items: list[HoldAnswer]
    next: str | None


class Result(msgspec.Struct):
    """One operation's outcome: the fields of its single call's answer stand beside these."""

    status: int
    code: str


class BatchAnswer(msgspec.Struct):
    """One result per operation, in their order."""

    results: list[Result]
