"""The nouns of the ledger: what the rules of `model` read and write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from shieldx.ledger import chain
from shieldx.ledger.operations import Operation

SYSTEM_CALLER: Final = "system"
MICROSECONDS: Final = 1_000_000


class Code(StrEnum):
    """What became of an operation; the first is success."""

    CREATED = "created"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    ACCOUNT_NOT_FOUND = "account_not_found"
    ACCOUNT_EXISTS = "account_exists"
    ACCOUNT_FROZEN = "account_frozen"
    ACCOUNT_CLOSED = "account_closed"
    ACCOUNT_NOT_EMPTY = "account_not_empty"
    HOLD_NOT_FOUND = "hold_not_found"
    HOLD_ALREADY_COMMITTED = "hold_already_committed"
    HOLD_ALREADY_VOIDED = "hold_already_voided"
    HOLD_EXPIRED = "hold_expired"
    EXCEEDS_HOLD_AMOUNT = "exceeds_hold_amount"
    TRANSFER_NOT_FOUND = "transfer_not_found"
    TRANSFER_ALREADY_REVERSED = "transfer_already_reversed"
    EXCEEDS_REVERSIBLE_AMOUNT = "exceeds_reversible_amount"
    REFERENCE_ALREADY_USED = "reference_already_used"
    BALANCE_OVERFLOW = "balance_overflow"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    BATCH_ABORTED = "batch_aborted"
    OUTCOME_UNKNOWN = "outcome_unknown"
    SHARD_UNAVAILABLE = "shard_unavailable"
    OVERLOADED = "overloaded"
    INTERNAL_ERROR = "internal_error"


class Answer(NamedTuple):
    """The outcome of one operation; `body` is the resource, or a message and the facts."""

    code: Code
    body: Mapping[str, Any]
    replayed: bool = False


class Account(NamedTuple):
    """One account; `version` counts its changes, 0 before it exists.

    `next_expiry` is no later than the first expiry among its open holds; None without any.
    """

    id: str
    balance: int
    held: int
    floor: int | None
    state: str
    version: int
    metadata: Mapping[str, Any]
    next_expiry: int | None

    @property
    def available(self) -> int:
        return self.balance - self.held

    def figures(self) -> dict[str, int]:
        """Return what every answer says of an account that it touched."""
        return {
            "balance": self.balance,
            "held": self.held,
            "available": self.balance - self.held,
            "version": self.version,
        }


class Hold(NamedTuple):
    """Credits reserved: `remaining` of `amount` is still held."""

    id: str
    account: str
    to: str
    amount: int
    remaining: int
    committed: int
    state: str
    expires_at: int
    version: int
    metadata: Mapping[str, Any]


class Posted(NamedTuple):
    """What a reversal must know of a transfer: `reversed` of `amount` has been moved back."""

    seq: int
    debit: str
    credit: str
    amount: int
    reversed: int


class Movement(NamedTuple):
    """One transfer as it is stored: both legs, and both accounts after it."""

    seq: int
    debit: str
    credit: str
    amount: int
    kind: str
    metadata: Mapping[str, Any]
    reference: str | None
    reverses: int | None
    position: int
    debit_after: Account
    credit_after: Account


class Entry(NamedTuple):
    """One link of the chain."""

    position: int
    caller: str
    key: str | None
    operation: bytes
    code: str
    answer: bytes
    hash: bytes


class Remembered(NamedTuple):
    """What a key was used for, and what it was answered."""

    operation: bytes
    code: str
    answer: bytes


type Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain."""

    position: int = 0
    seq: int = 0
    hash: bytes = chain.GENESIS
    at: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """Operations of one caller: each under its own key, or all or nothing under one."""

    caller: str
    operations: Sequence[Operation]
    keys: Sequence[str | None]
    atomic: bool = False


@dataclass(slots=True)
class State:
    """What is known of a shard as of `head`. None says: known not to exist."""

    shard: str
    head: Head = field(default_factory=Head)
    accounts: dict[str, Account | None] = field(default_factory=dict)
    holds: dict[str, Hold | None] = field(default_factory=dict)
    posted: dict[str, Posted | None] = field(default_factory=dict)
    keys: dict[Key, Remembered] = field(default_factory=dict)
    references: dict[str, str | None] = field(default_factory=dict)
    # Of accounts whose `next_expiry` has passed: the overdue holds, and the first that is not.
    due: dict[str, list[Hold]] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """What a batch changes: rows by id as they become, and what is appended."""

    head: Head
    accounts: dict[str, Account] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    posted: dict[str, Posted] = field(default_factory=dict)
    keys: dict[Key, Remembered] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    movements: list[Movement] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def copy(self) -> "Changes":
        """Return an independent copy, to go back to."""
        return Changes(
            self.head,
            dict(self.accounts),
            dict(self.holds),
            dict(self.posted),
            dict(self.keys),
            dict(self.references),
            list(self.movements),
            list(self.entries),
        )


def transfer_id(shard: str, seq: int) -> str:
    """Return the id of a shard's transfer; it carries the shard."""
    return f"tx_{shard}_{seq}"


def account_body(account: Account) -> dict[str, Any]:
    """Return an account as the API shows it."""
    return {
        "id": account.id,
        "state": account.state,
        "floor": account.floor,
        "metadata": account.metadata,
        **account.figures(),
    }


def hold_body(hold: Hold) -> dict[str, Any]:
    """Return a hold as the API shows it."""
    return {
        "id": hold.id,
        "account": hold.account,
        "to": hold.to,
        "amount": hold.amount,
        "remaining": hold.remaining,
        "state": hold.state,
        "committed_amount": hold.committed,
        "expires_at": hold.expires_at,
        "metadata": hold.metadata,
    }
