"""The state of a shard with the changes of a batch over it: what the rules work on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from shieldx.ledger import chain
from shieldx.ledger.operations import (
    MAX_AMOUNT,
    ChangeAccount,
    Commit,
    Grant,
    Note,
    OpenAccount,
    Operation,
    Reserve,
    Reverse,
    SetAlert,
    Settle,
    Transfer,
    Void,
    VoidGrant,
)
from shieldx.ledger.records import (
    Account,
    Body,
    Changes,
    Code,
    Entry,
    Head,
    Hold,
    Key,
    Lot,
    Movement,
    Part,
    Posted,
    Remembered,
    State,
    TransferBody,
    parts_body,
    transfer_id,
)

_encode = msgspec.json.Encoder(order="deterministic").encode


class RefusedError(Exception):
    """An operation is refused; the facts go into the answer. Raised before anything changes."""

    def __init__(self, code: Code, message: str, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.body: dict[str, object] = {"message": message, **facts}


class Draft:
    """The state with the changes so far over it."""

    __slots__ = ("changes", "now", "state", "watched")

    def __init__(self, state: State, now: int) -> None:
        self.state = state
        self.now = now
        self.changes = Changes(state.head, state.head.seq)
        # Accounts with an alert that have changed since alerts were last looked at.
        self.watched: dict[str, None] = {}

    def find(self, account: str) -> Account | None:
        return self.changes.accounts.get(account) or self.state.accounts[account]

    def account(self, account: str) -> Account:
        found = self.changes.accounts.get(account) or self.state.accounts[account]
        if found is None:
            raise RefusedError(
                Code.ACCOUNT_NOT_FOUND, f"there is no account {account}", account=account
            )
        return found

    def put(self, account: Account) -> None:
        self.changes.accounts[account.id] = account
        if account.alert is not None:
            self.watched[account.id] = None

    def find_lot(self, grant: str) -> Lot | None:
        return self.changes.lots.get(grant) or self.state.lots[grant]

    def lot(self, grant: str) -> Lot:
        found = self.find_lot(grant)
        if found is None:
            raise LookupError(grant)
        return found

    def find_posted(self, transfer: str) -> Posted | None:
        return self.changes.posted.get(transfer) or self.state.posted[transfer]

    def remembered(self, key: Key) -> Remembered | None:
        return self.changes.keys.get(key) or self.state.keys.get(key)

    def open_hold(self, hold: str) -> Hold:
        found = self.changes.holds.get(hold) or self.state.holds[hold]
        if found is None:
            raise RefusedError(Code.HOLD_NOT_FOUND, f"there is no hold {hold}", hold=hold)
        match found.state:
            case "held":
                return found
            case "committed":
                code = Code.HOLD_ALREADY_COMMITTED
            case "voided":
                code = Code.HOLD_ALREADY_VOIDED
            case _:
                code = Code.HOLD_EXPIRED
        raise RefusedError(code, f"hold {hold} is {found.state}", hold=hold, state=found.state)

    def open_holds(self, account: str) -> Iterator[Hold]:
        """Return the open holds of an account that is due; not all, but all that are overdue."""
        changed = self.changes.holds
        yield from (hold for hold in self.state.due.get(account, ()) if hold.id not in changed)
        yield from (h for h in changed.values() if h.account == account and h.state == "held")

    def open_lots(self, account: str) -> Iterator[Lot]:
        """Return the open lots of an account in the order in which they are burnt."""
        ids: Sequence[str] = self.state.purses.get(account, ())
        if opened := self.changes.opened.get(account):
            ids = sorted((*ids, *opened), key=lambda grant: self.lot(grant).order)
        return (lot for lot in map(self.lot, ids) if lot.is_open)

    def claim_reference(self, reference: str) -> None:
        user = self.changes.references.get(reference) or self.state.references[reference]
        if user is not None:
            # Which transfer that is, only those may know who see it: they find it by reference.
            raise RefusedError(
                Code.REFERENCE_ALREADY_USED,
                f"another transfer carries reference {reference}",
                reference=reference,
            )

    def move(
        self,
        debit: Account,
        credit: Account,
        amount: int,
        kind: str,
        metadata: Mapping[str, Any],
        *,
        reference: str | None = None,
        reverses: int | None = None,
        burnt: tuple[Part, ...] = (),
        restored: tuple[Part, ...] = (),
    ) -> TransferBody:
        """Move credits that the debit side covers and both sides can hold (`must_fit`)."""
        changes = self.changes
        position = changes.head.position + 1
        changes.seq = seq = changes.seq + 1
        paid = replace(debit, balance=debit.balance - amount, version=debit.version + 1)
        got = replace(credit, balance=credit.balance + amount, version=credit.version + 1)
        if got.balance > MAX_AMOUNT or paid.balance < -MAX_AMOUNT:
            raise OverflowError(f"{debit.id} to {credit.id}")
        self.put(paid)
        self.put(got)
        name = transfer_id(self.state.shard, seq)
        changes.posted[name] = Posted(seq, debit.id, credit.id, amount, 0, burnt)
        changes.movements.append(
            Movement(
                seq,
                position,
                debit.id,
                credit.id,
                amount,
                kind,
                reference,
                reverses,
                metadata,
                burnt or None,
                restored or None,
                paid.balance,
                paid.held,
                paid.version,
                got.balance,
                got.held,
                got.version,
            )
        )
        if reference is not None:
            changes.references[reference] = name
        return TransferBody(
            amount=amount,
            at=self.now,
            balances={paid.id: paid.figures(), got.id: got.figures()},
            burnt=parts_body(burnt) if burnt else UNSET,
            credit=credit.id,
            debit=debit.id,
            id=name,
            kind=kind,
            metadata=metadata,
            reference=UNSET if reference is None else reference,
            restored=parts_body(restored) if restored else UNSET,
            reverses=UNSET if reverses is None else transfer_id(self.state.shard, reverses),
            seq=seq,
        )

    def append(
        self, caller: str, key: str | None, operation: bytes, code: Code, body: Body
    ) -> str | None:
        """Chain what was decided, let its key remember it, and return the receipt."""
        changes, now, seal, answer = self.changes, self.now, self.state.seal, _encode(body)
        position = changes.head.position + 1
        digest = chain.link(changes.head.hash, position, now, caller, key, operation, code, answer)
        receipt = seal(digest) if seal else None
        changes.head = Head(position, changes.seq, digest, now)
        changes.entries.append(
            Entry(position, caller, key, operation, code, answer, digest, receipt)
        )
        if key is not None:
            changes.keys[caller, key] = Remembered(operation, code, answer, receipt)
        return receipt


def touched(operation: Operation, known: Draft | State) -> tuple[str, ...]:
    """Return the accounts that an operation touches, as far as its hold or transfer is known."""
    match operation:
        case Transfer():
            return (operation.debit, operation.credit)
        case Reserve():
            return (operation.account, operation.to)
        case Commit() | Void():
            hold = _lookup(known, "holds", operation.hold)
            return (hold.account, hold.to) if hold else ()
        case Reverse():
            posted = _lookup(known, "posted", operation.transfer)
            return (posted.credit, posted.debit) if posted else ()
        case OpenAccount() | ChangeAccount():
            return (operation.id,)
        case Grant() | VoidGrant() | SetAlert() | Settle() | Note():
            return () if isinstance(operation, Note) else (operation.account,)
        case _:
            assert_never(operation)


def _lookup(known: Draft | State, table: str, name: str) -> Any:
    if isinstance(known, State):
        return getattr(known, table).get(name)
    return getattr(known.changes, table).get(name) or getattr(known.state, table).get(name)


def must_fit(debit: Account, credit: Account, amount: int) -> None:
    """Refuse a movement after which a balance would be no number that the ledger can hold."""
    if credit.balance + amount > MAX_AMOUNT:
        raise overflow(credit)
    if debit.balance - amount < -MAX_AMOUNT:
        raise overflow(debit)


def overflow(account: Account) -> RefusedError:
    return RefusedError(
        Code.BALANCE_OVERFLOW,
        f"account {account.id} would pass the largest number that the ledger can hold",
        account=account.id,
    )
