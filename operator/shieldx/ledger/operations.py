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


type Operation = OpenAccount | ChangeAccount | Transfer | Reverse | Reserve | Commit | Void | Expire

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(
    OpenAccount | ChangeAccount | Transfer | Reverse | Reserve | Commit | Void | Expire
)


def canonical(operation: Operation) -> bytes:
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
