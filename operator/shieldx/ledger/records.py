"""The nouns of the ledger: what the rules of `model` read and write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from shieldx.ledger import chain
from shieldx.ledger.operations import Operation

SYSTEM_CALLER: Final = "system"
MICROSECONDS: Final = 1_000_000
USED_KEYS: Final = 200_000


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
    GRANT_NOT_FOUND = "grant_not_found"
    GRANT_ALREADY_VOIDED = "grant_already_voided"
    GRANT_EXPIRED = "grant_expired"
    GRANT_EXHAUSTED = "grant_exhausted"
    REFERENCE_ALREADY_USED = "reference_already_used"
    BALANCE_OVERFLOW = "balance_overflow"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    BATCH_ABORTED = "batch_aborted"
    OUTCOME_UNKNOWN = "outcome_unknown"
    SHARD_UNAVAILABLE = "shard_unavailable"
    OVERLOADED = "overloaded"
    INTERNAL_ERROR = "internal_error"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A fact in memory; there are many and none is part of a cycle, so none is collected."""


class Figures(Row, frozen=True, gc=False):
    """What every answer says of an account that it touched."""

    available: int
    balance: int
    held: int
    version: int


class TransferBody(Row, frozen=True, gc=False, kw_only=True):
    """A transfer as the API shows it: of all bodies the most frequent, so it is no dictionary.

    Its fields are in the order in which bodies are written, which is that of their names.
    """

    amount: int
    at: int
    balances: Mapping[str, Figures]
    burnt: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    credit: str
    debit: str
    id: str
    kind: str
    metadata: Mapping[str, Any]
    reference: str | UnsetType = UNSET
    restored: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    reverses: str | UnsetType = UNSET
    seq: int


type Body = Mapping[str, Any] | TransferBody


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The outcome of one operation: what was `said` is the resource, or a message and the facts.

    `receipt` proves that the chain has it, where the ledger has keys to seal with.
    """

    code: Code
    # A `Body`: from another process it comes as a dictionary, which only `Any` lets msgspec read.
    said: Any
    replayed: bool = False
    receipt: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        """What was said, as a dictionary of one's own; not for the hot path."""
        body: dict[str, Any] = msgspec.to_builtins(self.said)
        return body


class Account(Row, frozen=True, gc=False):
    """One account; `version` counts its changes, 0 before it exists.

    `next_due` is no later than the first moment at which time changes something: a hold or lot
    expires, a grant becomes effective; None where nothing can. `lots` counts its open lots.
    `alert`: what `available` must not fall below in silence; `alerted`: it has been said.
    """

    id: str
    balance: int
    held: int
    floor: int | None
    state: str
    version: int
    metadata: Mapping[str, Any]
    next_due: int | None = None
    lots: int = 0
    alert: int | None = None
    alerted: bool = False

    @property
    def available(self) -> int:
        return self.balance - self.held

    def figures(self) -> Figures:
        """Return what every answer says of an account that it touched."""
        return Figures(self.balance - self.held, self.balance, self.held, self.version)


class Part(NamedTuple):
    """So much of an amount that was taken from one lot."""

    grant: str
    amount: int


class Lot(Row, frozen=True, gc=False):
    """A grant and what is left of it: `remaining`, of which holds have claimed `held`.

    pending: not yet effective, its credits are not in the account; active; exhausted: nothing is
    left; expired or voided: nothing is left but what holds had claimed before.
    """

    id: str
    account: str
    amount: int
    remaining: int
    held: int
    priority: int
    effective_at: int
    expires_at: int | None
    state: str
    created: int
    version: int
    metadata: Mapping[str, Any]

    @property
    def is_open(self) -> bool:
        return self.state in {"pending", "active"} or self.held > 0

    @property
    def due(self) -> int | None:
        """When time will change it, if it will."""
        if self.state == "pending":
            return self.effective_at
        return self.expires_at if self.state == "active" else None

    @property
    def order(self) -> tuple[int, float, int]:
        """Lots are burnt in this order: priority, expiry (never last), age."""
        expiry = float("inf") if self.expires_at is None else self.expires_at
        return self.priority, expiry, self.created


class Hold(Row, frozen=True, gc=False):
    """Credits reserved: `remaining` of `amount` is still held, `claims` of it from lots."""

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
    claims: tuple[Part, ...] = ()


class Posted(Row, frozen=True, gc=False):
    """What a reversal must know of a transfer: `reversed` of `amount` has been moved back."""

    seq: int
    debit: str
    credit: str
    amount: int
    reversed: int
    burnt: tuple[Part, ...] = ()


class Movement(Row, frozen=True, gc=False, array_like=True):
    """One transfer as it is stored, its fields those of its row: both accounts after it.

    `burnt`: the lots of the debited account that paid, in order; `restored`: of the credited one.
    """

    seq: int
    position: int
    debit: str
    credit: str
    amount: int
    kind: str
    reference: str | None
    reverses: int | None
    metadata: Mapping[str, Any]
    burnt: tuple[Part, ...] | None
    restored: tuple[Part, ...] | None
    debit_balance: int
    debit_held: int
    debit_version: int
    credit_balance: int
    credit_held: int
    credit_version: int


class Entry(Row, frozen=True, gc=False):
    """One link of the chain."""

    position: int
    caller: str
    key: str | None
    operation: bytes
    code: str
    answer: bytes
    hash: bytes
    receipt: str | None = None


class Remembered(Row, frozen=True, gc=False):
    """What a key was used for, and what it was answered."""

    operation: bytes
    code: str
    answer: bytes
    receipt: str | None = None


type Key = tuple[str, str]


class Head(Row, frozen=True, gc=False):
    """The end of the chain."""

    position: int = 0
    seq: int = 0
    hash: bytes = chain.GENESIS
    at: int = 0


class Request(msgspec.Struct, frozen=True):
    """Operations of one caller: each under its own key, or all or nothing under one."""

    caller: str
    operations: Sequence[Operation]
    keys: Sequence[str | None]
    atomic: bool = False


class UsedKeys:
    """Keys that were used: the last ones, of which there are between half as many and `most`.

    Kept are their hashes, in two generations of which the older makes room as a whole. So a key
    may be taken for used that never was: whoever then looks finds nothing, and goes on.
    """

    def __init__(self, most: int = USED_KEYS) -> None:
        self._half = most // 2
        self._newer: set[int] = set()
        self._older: set[int] = set()

    def __contains__(self, key: Key) -> bool:
        digest = hash(key)
        return digest in self._newer or digest in self._older

    def add(self, key: Key) -> None:
        if len(self._newer) >= self._half:
            self._older, self._newer = self._newer, set()
        self._newer.add(hash(key))


@dataclass(slots=True)
class State:
    """What is known of a shard as of `head`. None says: known not to exist.

    Of every known account all open lots are known, and `purses` has their ids in burning order.
    `seal` makes an entry's receipt from its hash.
    """

    shard: str
    seal: Callable[[bytes], str] | None = None
    head: Head = field(default_factory=Head)
    accounts: dict[str, Account | None] = field(default_factory=dict)
    lots: dict[str, Lot | None] = field(default_factory=dict)
    purses: dict[str, list[str]] = field(default_factory=dict)
    holds: dict[str, Hold | None] = field(default_factory=dict)
    posted: dict[str, Posted | None] = field(default_factory=dict)
    keys: dict[Key, Remembered] = field(default_factory=dict)
    # Keys of which only this is known any more.
    used: UsedKeys = field(default_factory=UsedKeys)
    references: dict[str, str | None] = field(default_factory=dict)
    # Of accounts whose `next_due` has passed: the overdue holds, and the first that is not.
    due: dict[str, list[Hold]] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """What a batch changes: rows by id as they become, and what is appended."""

    head: Head
    # The number of the last transfer; the head takes it up with the entry that says why it moved.
    seq: int
    accounts: dict[str, Account] = field(default_factory=dict)
    lots: dict[str, Lot] = field(default_factory=dict)
    # Lots by account that were not open before.
    opened: dict[str, dict[str, None]] = field(default_factory=dict)
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
            self.seq,
            dict(self.accounts),
            dict(self.lots),
            {account: dict(lots) for account, lots in self.opened.items()},
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
        "available_below": account.alert,
        "metadata": account.metadata,
        **asdict(account.figures()),
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


def lot_body(lot: Lot) -> dict[str, Any]:
    """Return a grant as the API shows it."""
    return {
        "id": lot.id,
        "account": lot.account,
        "amount": lot.amount,
        "remaining": lot.remaining,
        "held": lot.held,
        "priority": lot.priority,
        "effective_at": lot.effective_at,
        "expires_at": lot.expires_at,
        "state": lot.state,
        "metadata": lot.metadata,
    }


def parts_body(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return which lots an amount came from, as the API shows it."""
    return [{"grant": part.grant, "amount": part.amount} for part in parts]
