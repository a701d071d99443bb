"""The shapes of requests: what bodies are decoded into, and what OpenAPI is generated from.

`shieldx.sidecar.decoding` reads bodies into these, strictly; nothing here does anything. The shapes
of answers are in `shieldx.sidecar.wire_answers`.
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
