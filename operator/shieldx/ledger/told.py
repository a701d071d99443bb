"""The nouns of the retelling: accounts, lots, holds and transfers as they must be, as rows."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

import msgspec

from shieldx.ledger.cells import EIGHT, EMPTY, NULL, Columns, Kind, document, number, pairs, text

NUMBER, TEXT, JSON, FLAG = Kind.NUMBER, Kind.TEXT, Kind.JSON, Kind.FLAG

ACCOUNT: Final[Columns] = {
    "id": TEXT,
    "balance": NUMBER,
    "held": NUMBER,
    "version": NUMBER,
    "lots": NUMBER,
    "floor": NUMBER,
    "alert": NUMBER,
    "state": TEXT,
    "metadata": JSON,
    "alerted": FLAG,
}
HOLD: Final[Columns] = {
    "id": TEXT,
    "opened": NUMBER,
    "amount": NUMBER,
    "remaining": NUMBER,
    "committed": NUMBER,
    "expires_at": NUMBER,
    "version": NUMBER,
    "account": TEXT,
    "to": TEXT,
    "state": TEXT,
    "metadata": JSON,
    "claims": JSON,
}
LOT: Final[Columns] = {
    "id": TEXT,
    "amount": NUMBER,
    "remaining": NUMBER,
    "held": NUMBER,
    "priority": NUMBER,
    "effective_at": NUMBER,
    "created": NUMBER,
    "version": NUMBER,
    "account": TEXT,
    "expires_at": NUMBER,
    "state": TEXT,
    "metadata": JSON,
}
TRANSFER: Final[Columns] = {
    "seq": NUMBER,
    "position": NUMBER,
    "at": NUMBER,
    "amount": NUMBER,
    "debit_balance": NUMBER,
    "debit_held": NUMBER,
    "debit_version": NUMBER,
    "credit_balance": NUMBER,
    "credit_held": NUMBER,
    "credit_version": NUMBER,
    "debit": TEXT,
    "credit": TEXT,
    "kind": TEXT,
    "reference": TEXT,
    "reverses": NUMBER,
    "metadata": JSON,
    "burnt": JSON,
    "restored": JSON,
}
_COUNTS: Final = {len(table): len(table).to_bytes(2) for table in (ACCOUNT, HOLD, LOT)}
_FOUR: Final = struct.Struct(">iqiqiqiq")
_SIX: Final = struct.Struct(">iqiqiqiqiqiq")
_SEVEN: Final = struct.Struct(">iqiqiqiqiqiqiq")
_TEN: Final = struct.Struct(">h" + "iq" * 10)
# What follows the kind of a transfer that has nothing special.
_PLAIN: Final = NULL + NULL + EMPTY + NULL + NULL
_YES: Final = b"\x00\x00\x00\x01\x01"
_NO: Final = b"\x00\x00\x00\x01\x00"


class UntoldError(Exception):
    """The chain speaks of something that it never made."""


class Told[T](dict[str, T]):
    """What entries made, by id; whoever asks for anything else learns that."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, name: str) -> NoReturn:
        raise untold(self._kind, name)


def untold(kind: str, name: str) -> UntoldError:
    return UntoldError(f"{kind} {name}: no entry of the chain made it")


class Account(msgspec.Struct, gc=False):
    """An account; `moved` is the last of its versions that a transfer's row tells."""

    id: str
    cell: bytes
    floor: int | None
    metadata: bytes
    balance: int = 0
    held: int = 0
    state: str = "open"
    version: int = 1
    lots: int = 0
    alert: int | None = None
    moved: int = 0

    def row(self) -> bytes:
        """Return its row but for `next_due`, which may be earlier than need be."""
        below = self.alert is not None and self.balance - self.held < self.alert
        return b"".join((
            _COUNTS[len(ACCOUNT)],
            self.cell,
            _FOUR.pack(
                EIGHT, self.balance, EIGHT, self.held, EIGHT, self.version, EIGHT, self.lots
            ),
            number(self.floor),
            number(self.alert),
            text(self.state),
            document(self.metadata),
            _YES if below else _NO,
        ))  # fmt: skip


class Lot(msgspec.Struct, gc=False):
    """A grant and what is left of it."""

    id: str
    account: Account
    amount: int
    remaining: int
    priority: int
    effective_at: int
    expires_at: int | None
    created: int
    metadata: bytes
    held: int = 0
    state: str = "pending"
    version: int = 1

    @property
    def is_open(self) -> bool:
        return self.state in {"pending", "active"} or self.held > 0

    @property
    def free(self) -> int:
        return self.remaining - self.held if self.state == "active" else 0

    @property
    def due(self) -> int | None:
        """When time will change it, if it will."""
        if self.state == "pending":
            return self.effective_at
        return self.expires_at if self.state == "active" else None

    def row(self) -> bytes:
        return b"".join((
            _COUNTS[len(LOT)],
            text(self.id),
            _SEVEN.pack(
                EIGHT, self.amount, EIGHT, self.remaining, EIGHT, self.held, EIGHT, self.priority,
                EIGHT, self.effective_at, EIGHT, self.created, EIGHT, self.version,
            ),
            self.account.cell,
            number(self.expires_at),
            text(self.state),
            document(self.metadata),
        ))  # fmt: skip


class Hold(msgspec.Struct, gc=False):
    """Credits reserved, `claims` of them from lots."""

    id: str
    opened: int
    account: Account
    to: str
    amount: int
    remaining: int
    expires_at: int
    metadata: bytes
    claims: tuple[tuple[Lot, int], ...] = ()
    committed: int = 0
    state: str = "held"
    version: int = 1

    @property
    def due(self) -> int | None:
        """When time will change it, if it will."""
        return self.expires_at if self.state == "held" else None

    def row(self) -> bytes:
        return b"".join((
            _COUNTS[len(HOLD)],
            text(self.id),
            _SIX.pack(
                EIGHT, self.opened, EIGHT, self.amount, EIGHT, self.remaining,
                EIGHT, self.committed, EIGHT, self.expires_at, EIGHT, self.version,
            ),
            self.account.cell,
            text(self.to),
            text(self.state),
            document(self.metadata),
            pairs([(lot.id, amount) for lot, amount in self.claims]),
        ))  # fmt: skip


type Parts = Sequence[tuple[Lot, int]]


class Original(NamedTuple):
    """The transfer that a reversal reverses, as the database has it."""

    seq: int
    debit: str
    credit: str
    amount: int
    burnt: Sequence[tuple[str, int]]


def posted(  # noqa: PLR0917 - one positional call a transfer, on the hot path.
    seq: int, position: int, at: int, amount: int, paid: Account, got: Account, rest: bytes
) -> bytes:
    """Return the row of a transfer that has just been made; `rest` is what `rest_of` returns."""
    return b"".join((
        _TEN.pack(
            len(TRANSFER), EIGHT, seq, EIGHT, position, EIGHT, at, EIGHT, amount,
            EIGHT, paid.balance, EIGHT, paid.held, EIGHT, paid.version,
            EIGHT, got.balance, EIGHT, got.held, EIGHT, got.version,
        ),
        paid.cell,
        got.cell,
        rest,
    ))  # fmt: skip


@lru_cache(64)
def plain(kind: str) -> bytes:
    """Return what `rest_of` does for a transfer that has nothing but its kind."""
    return text(kind) + _PLAIN


def rest_of(
    kind: str,
    metadata: bytes,
    *,
    reference: str | None = None,
    reverses: int | None = None,
    burnt: Parts = (),
    restored: Parts = (),
) -> bytes:
    """Return the cells of a transfer's row that tell no figures."""
    return b"".join((
        text(kind),
        text(reference),
        number(reverses),
        document(metadata),
        pairs([(lot.id, amount) for lot, amount in burnt]),
        pairs([(lot.id, amount) for lot, amount in restored]),
    ))  # fmt: skip
