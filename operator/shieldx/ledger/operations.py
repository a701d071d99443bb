"""What can be asked of the ledger: operations in normal form, with every default filled in.

The normal form is what an idempotency key is bound to and what the chain records, so it does not
depend on how the request was made: alone, in a batch, or through a relay.
"""

from typing import Any, Final

import msgspec

SYSTEM_PREFIX: Final = "system/"
ISSUANCE: Final = "system/issuance"
REVENUE: Final = "system/revenue"
BREAKAGE: Final = "system/breakage"
MAX_AMOUNT: Final = 2**63 - 1
ACCOUNT_ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}"


class OpenAccount(msgspec.Struct, frozen=True, kw_only=True, tag="open", tag_field="type"):
    """Open an account; `floor` is how low its available credits may get, None for no limit."""

    id: str
    floor: int | None = 0
    metadata: dict[str, Any] = {}


class ChangeAccount(msgspec.Struct, frozen=True, kw_only=True, tag="change", tag_field="type"):
    """Freeze, close or reopen an account, or replace its metadata; None leaves as it is."""

    id: str
    state: str | None = None
    metadata: dict[str, Any] | None = None


class Transfer(msgspec.Struct, frozen=True, kw_only=True, tag="transfer", tag_field="type"):
    """Move `amount` from `debit` to `credit`; consume and refill are kinds of it."""

    debit: str
    credit: str
    amount: int
    kind: str = "transfer"
    metadata: dict[str, Any] = {}
    reference: str | None = None


class Reverse(msgspec.Struct, frozen=True, kw_only=True, tag="reverse", tag_field="type"):
    """Move a transfer back, or `amount` of it; all that is left of it by default."""

    transfer: str
    amount: int | None = None


class Reserve(msgspec.Struct, frozen=True, kw_only=True, tag="hold", tag_field="type"):
    """Hold `amount` of an account for `to` until committed, voided or expired."""

    account: str
    amount: int
    timeout_seconds: int
    to: str = REVENUE
    metadata: dict[str, Any] = {}


class Commit(msgspec.Struct, frozen=True, kw_only=True, tag="commit", tag_field="type"):
    """Pay what is held, or `amount` of it; the rest is released unless not `final`."""

    hold: str
    amount: int | None = None
    final: bool = True


class Void(msgspec.Struct, frozen=True, kw_only=True, tag="void", tag_field="type"):
    """Release what is held."""

    hold: str


class Expire(msgspec.Struct, frozen=True, kw_only=True, tag="expire", tag_field="type"):
    """Release what is held by a hold whose time has passed; nothing happens to another."""

    hold: str


class Grant(msgspec.Struct, frozen=True, kw_only=True, tag="grant", tag_field="type"):
    """Give an account a lot of credits that is burnt in its order and may expire.

    Lower `priority` is burnt first. Times are microseconds since 1970: the lot can be spent from
    `effective_at` on (None: at once) and until before `expires_at` (None: for ever).
    """

    account: str
    amount: int
    priority: int = 0
    effective_at: int | None = None
    expires_at: int | None = None
    metadata: dict[str, Any] = {}


class VoidGrant(msgspec.Struct, frozen=True, kw_only=True, tag="void_grant", tag_field="type"):
    """Take back what is left of a grant and not held."""

    account: str
    grant: str


class Note(msgspec.Struct, frozen=True, kw_only=True, tag="note", tag_field="type"):
    """Write the digest of something into the chain, which so proves that it existed by then."""

    kind: str
    digest: str


class SetAlert(msgspec.Struct, frozen=True, kw_only=True, tag="set_alert", tag_field="type"):
    """Raise an alert once whenever less than `available_below` is available; None: never."""

    account: str
    available_below: int | None = None


class ActivateGrant(msgspec.Struct, frozen=True, kw_only=True, tag="activate", tag_field="type"):
    """Pay out a grant whose time has come. Only time asks for this."""

    grant: str


class ExpireGrant(msgspec.Struct, frozen=True, kw_only=True, tag="expire_grant", tag_field="type"):
    """Take what is left of a grant whose time is over. Only time asks for this."""

    grant: str


class Alert(msgspec.Struct, frozen=True, kw_only=True, tag="alert", tag_field="type"):
    """Say that less is available than an account's alert asks for. Only balances ask for this."""

    account: str


class Settle(msgspec.Struct, frozen=True, kw_only=True, tag="settle", tag_field="type"):
    """Do to an account what time has decided; nothing happens to one that is not due."""

    account: str


type Operation = (
    OpenAccount
    | ChangeAccount
    | Transfer
    | Reverse
    | Reserve
    | Commit
    | Void
    | Grant
    | VoidGrant
    | Note
    | SetAlert
    | Settle
)
# What the ledger does by itself: chained like the others, asked for by nobody.
type Consequence = Expire | ActivateGrant | ExpireGrant | Alert

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(Operation.__value__)


def canonical(operation: Operation | Consequence) -> bytes:
    """Return the one JSON text of an operation: equal operations, equal bytes."""
    return _encoder.encode(operation)


def parse(text: bytes) -> Operation:
    """Return the operation whose canonical text this is."""
    return _decoder.decode(text)


def canonical_batch(operations: list[bytes]) -> bytes:
    """Return the canonical text of an atomic batch of canonical operations."""
    return b'{"type":"batch","operations":[' + b",".join(operations) + b"]}"


def first_difference(one: bytes, other: bytes) -> str:
    """Name the first field in which two canonical texts differ, for people."""
    left, right = msgspec.json.decode(one), msgspec.json.decode(other)
    for field in dict.fromkeys((*left, *right)):
        if left.get(field) != right.get(field):
            return str(field)
    return "type"
