"""The shapes of requests and answers: what is decoded, and what OpenAPI is generated from.

`shieldx.sidecar.decoding` reads bodies into these, strictly; nothing here does anything.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

MAX_AMOUNT: Final = 2**63 - 1
MAX_OPERATIONS: Final = 1000

# `(?![\s\S])` is an end that JSON Schema and Python agree on: `$` would let a newline follow.
AccountId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}(?![\s\S])",
        description="Chosen by the client: letters, digits and . _ : @ / -, at most 128.",
    ),
]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(?![\s\S])")]
Amount = Annotated[int, Meta(ge=1, le=MAX_AMOUNT, description="Whole units of 10^-scale.")]
Floor = Annotated[int, Meta(ge=-MAX_AMOUNT, le=0)]
Kind = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.:-]{0,63}(?![\s\S])")]
Reference = Annotated[
    str,
    Meta(
        pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?(?![\s\S])",
        description="The caller's own id of the transfer, unique in its shard.",
    ),
]
Key = Annotated[str, Meta(pattern=r"^[\x20-\x7e]{1,255}(?![\s\S])")]
Metadata = Annotated[
    dict[str, Any],
    Meta(description="Any JSON object up to 4 KiB, without fractions; no personal data."),
]
Priority = Annotated[int, Meta(ge=0, le=255, description="Lower is burnt first.")]
Moment = Annotated[
    datetime, Meta(tz=True, description="RFC 3339, with its offset; microseconds count.")
]
Threshold = Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
Digest = Annotated[
    str,
    Meta(
        pattern=r"^([0-9a-f]{2}){16,64}(?![\s\S])",
        description="16 to 64 bytes in lower-case hexadecimal digits.",
    ),
]
Atomic = Annotated[bool, Meta(extra_json_schema={"default": False})]
Timeout = Annotated[int, Meta(ge=1, le=366 * 86400)]


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A request's body. Written again it has no more than was sent: `decoding` counts on that."""


class OpenAccount(Body, kw_only=True):
    """`POST /v1/accounts`."""

    id: AccountId
    floor: Floor = 0
    metadata: Metadata | UnsetType = UNSET


class ChangeAccount(Body, kw_only=True):
    """`PATCH /v1/accounts/{id}`."""

    state: Literal["open", "frozen", "closed"] | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class Transfer(Body, kw_only=True):
    """`POST /v1/transfers`."""

    debit: AccountId
    credit: AccountId
    amount: Amount
    kind: Kind | UnsetType = UNSET
    reference: Reference | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class Consume(Body, kw_only=True):
    """`POST /v1/accounts/{id}/consume`: pays `to`, by default `system/revenue`."""

    amount: Amount
    to: AccountId | UnsetType = UNSET
    reference: Reference | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class Refill(Body, kw_only=True):
    """`POST /v1/accounts/{id}/refill`: draws on `from`, by default `system/issuance`."""

    amount: Amount
    source: AccountId | UnsetType = msgspec.field(default=UNSET, name="from")
    reference: Reference | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class Reverse(Body, kw_only=True):
    """`POST /v1/transfers/{id}/reverse`: by default all that has not been reversed."""

    amount: Amount | UnsetType = UNSET


class Reserve(Body, kw_only=True):
    """`POST /v1/holds`."""

    account: AccountId
    amount: Amount
    to: AccountId | UnsetType = UNSET
    timeout_seconds: Timeout | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class Commit(Body, kw_only=True):
    """`POST /v1/holds/{id}/commit`: by default all that is held; the rest is released."""

    amount: Amount | UnsetType = UNSET
    final: bool = True


class Void(Body, kw_only=True):
    """`POST /v1/holds/{id}/void`."""


class Grant(Body, kw_only=True):
    """`POST /v1/accounts/{id}/grants`: credits that are burnt in their order and may expire."""

    amount: Amount
    priority: Priority = 0
    effective_at: Moment | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class VoidGrant(Body, kw_only=True):
    """`DELETE /v1/accounts/{id}/grants/{grant}`."""


class SetAlert(Body, kw_only=True):
    """`PUT /v1/accounts/{id}/alerts`; null takes the alert away."""

    available_below: Threshold | None


class Note(Body, kw_only=True):
    """`POST /v1/notes`."""

    kind: Kind
    digest: Digest


class TransferItem(Transfer, kw_only=True, tag="transfer"):
    """An operation of a batch."""

    idempotency_key: Key | UnsetType = UNSET


class ConsumeItem(Consume, kw_only=True, tag="consume"):
    """An operation of a batch."""

    account: AccountId
    idempotency_key: Key | UnsetType = UNSET


class RefillItem(Refill, kw_only=True, tag="refill"):
    """An operation of a batch."""

    account: AccountId
    idempotency_key: Key | UnsetType = UNSET


class ReverseItem(Reverse, kw_only=True, tag="reverse"):
    """An operation of a batch."""

    transfer: Id
    idempotency_key: Key | UnsetType = UNSET


class HoldItem(Reserve, kw_only=True, tag="hold"):
    """An operation of a batch."""

    idempotency_key: Key | UnsetType = UNSET


class CommitItem(Commit, kw_only=True, tag="commit"):
    """An operation of a batch."""

    hold: Id
    idempotency_key: Key | UnsetType = UNSET


class VoidItem(Void, kw_only=True, tag="void"):
    """An operation of a batch."""

    hold: Id
    idempotency_key: Key | UnsetType = UNSET


class GrantItem(Grant, kw_only=True, tag="grant"):
    """An operation of a batch."""

    account: AccountId
    idempotency_key: Key | UnsetType = UNSET


Item = (
    TransferItem
    | ConsumeItem
    | RefillItem
    | ReverseItem
    | HoldItem
    | CommitItem
    | VoidItem
    | GrantItem
)


class Batch(Body, kw_only=True):
    """`POST /v1/batch`: up to 1,000 operations, singly or all or nothing."""

    operations: Annotated[list[Item], Meta(min_length=1, max_length=MAX_OPERATIONS)]
    atomic: Atomic | UnsetType = UNSET


class LooseBatch(Body, kw_only=True):
    """A batch whose operations are looked at one by one, to say which of them is malformed."""

    operations: list[msgspec.Raw]
    atomic: Atomic | UnsetType = UNSET


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
