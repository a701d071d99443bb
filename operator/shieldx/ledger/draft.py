"""The state of a shard with the changes of a batch over it: what the rules of `model` work on."""

from collections.abc import Iterator, Mapping
from typing import Any, assert_never

import msgspec

from shieldx.ledger import chain
from shieldx.ledger.operations import (
    MAX_AMOUNT,
    ChangeAccount,
    Commit,
    Expire,
    OpenAccount,
    Operation,
    Reserve,
    Reverse,
    Transfer,
    Void,
    canonical,
)
from shieldx.ledger.records import (
    SYSTEM_CALLER,
    Account,
    Changes,
    Code,
    Entry,
    Head,
    Hold,
    Key,
    Movement,
    Posted,
    Remembered,
    State,
    hold_body,
    transfer_id,
)

_encode = msgspec.json.Encoder(order="deterministic").encode


class RefusedError(Exception):
    """An operation is refused; the facts go into the answer."""

    def __init__(self, code: Code, message: str, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.body: dict[str, object] = {"message": message, **facts}


class Draft:
    """The state with the changes so far over it."""

    __slots__ = ("changes", "now", "state")

    def __init__(self, state: State, now: int) -> None:
        self.state = state
        self.now = now
        self.changes = Changes(state.head)

    def find(self, account: str) -> Account | None:
        return self.changes.accounts.get(account) or self.state.accounts[account]

    def account(self, account: str) -> Account:
        found = self.changes.accounts.get(account) or self.state.accounts[account]
        if found is None:
            raise RefusedError(
                Code.ACCOUNT_NOT_FOUND, f"there is no account {account}", account=account
            )
        return found

    def find_hold(self, hold: str) -> Hold | None:
        return self.changes.holds.get(hold) or self.state.holds[hold]

    def find_posted(self, transfer: str) -> Posted | None:
        return self.changes.posted.get(transfer) or self.state.posted[transfer]

    def remembered(self, key: Key) -> Remembered | None:
        return self.changes.keys.get(key) or self.state.keys.get(key)

    def open_hold(self, hold: str) -> Hold:
        found = self.find_hold(hold)
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

    def claim_reference(self, reference: str) -> None:
        user = self.changes.references.get(reference) or self.state.references[reference]
        if user is not None:
            raise RefusedError(
                Code.REFERENCE_ALREADY_USED,
                f"reference {reference} belongs to transfer {user}",
                reference=reference,
                transfer=user,
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
    ) -> dict[str, Any]:
        """Move credits that the debit side covers; refuse only what the numbers cannot hold."""
        if credit.balance + amount > MAX_AMOUNT:
            raise overflow(credit)
        if debit.balance - amount < -MAX_AMOUNT:
            raise overflow(debit)
        changes, seq = self.changes, self.changes.head.seq + 1
        paid = debit._replace(balance=debit.balance - amount, version=debit.version + 1)
        got = credit._replace(balance=credit.balance + amount, version=credit.version + 1)
        changes.accounts[paid.id] = paid
        changes.accounts[got.id] = got
        head = changes.head
        changes.head = Head(head.position, seq, head.hash, head.at)
        name = transfer_id(self.state.shard, seq)
        changes.posted[name] = Posted(seq, debit.id, credit.id, amount, 0)
        changes.movements.append(
            Movement(
                seq,
                debit.id,
                credit.id,
                amount,
                kind,
                metadata,
                reference,
                reverses,
                head.position + 1,
                paid,
                got,
            )
        )
        body = {
            "id": name,
            "seq": seq,
            "debit": debit.id,
            "credit": credit.id,
            "amount": amount,
            "kind": kind,
            "at": self.now,
            "metadata": metadata,
            "balances": {paid.id: paid.figures(), got.id: got.figures()},
        }
        if reference is not None:
            changes.references[reference] = name
            body["reference"] = reference
        if reverses is not None:
            body["reverses"] = transfer_id(self.state.shard, reverses)
        return body

    def append(
        self, caller: str, key: str | None, operation: bytes, code: Code, body: Mapping[str, Any]
    ) -> None:
        """Chain what was decided, and let its key remember it."""
        head, answer = self.changes.head, _encode(body)
        position = head.position + 1
        digest = chain.link(head.hash, position, self.now, caller, key, operation, code, answer)
        self.changes.head = Head(position, head.seq, digest, self.now)
        self.changes.entries.append(Entry(position, caller, key, operation, code, answer, digest))
        if key is not None:
            self.changes.keys[caller, key] = Remembered(operation, code, answer)

    def settle_expired(self, operation: Operation) -> None:
        """Expire, as entries of their own, the overdue holds of the accounts that are touched."""
        for name in touched(operation, self):
            account = self.changes.accounts.get(name) or self.state.accounts.get(name)
            if account is None or account.next_expiry is None or account.next_expiry > self.now:
                continue
            self._settle(account.id)

    def _settle(self, account: str) -> None:
        following: list[int] = []
        for hold in list(self._open_holds(account)):
            if hold.expires_at > self.now:
                following.append(hold.expires_at)
                continue
            body = finish(self, hold, "expired")
            text = canonical(Expire(hold=hold.id))
            self.append(SYSTEM_CALLER, None, text, Code.CREATED, body)
        settled = self.account(account)
        self.changes.accounts[account] = settled._replace(next_expiry=min(following, default=None))

    def _open_holds(self, account: str) -> Iterator[Hold]:
        changed = self.changes.holds
        yield from (hold for hold in self.state.due.get(account, ()) if hold.id not in changed)
        yield from (h for h in changed.values() if h.account == account and h.state == "held")


def touched(operation: Operation, known: "Draft | State") -> tuple[str, ...]:
    """Return the accounts that an operation touches, as far as its hold or transfer is known."""
    match operation:
        case Transfer():
            return (operation.debit, operation.credit)
        case Reserve():
            return (operation.account, operation.to)
        case Commit() | Void() | Expire():
            hold = _lookup(known, "holds", operation.hold)
            return (hold.account, hold.to) if hold else ()
        case Reverse():
            posted = _lookup(known, "posted", operation.transfer)
            return (posted.credit, posted.debit) if posted else ()
        case OpenAccount() | ChangeAccount():
            return (operation.id,)
        case _:
            assert_never(operation)


def _lookup(known: "Draft | State", table: str, name: str) -> Any:
    if isinstance(known, State):
        return getattr(known, table).get(name)
    return getattr(known.changes, table).get(name) or getattr(known.state, table).get(name)


def finish(draft: "Draft", hold: Hold, state: str) -> dict[str, Any]:
    account = draft.account(hold.account)
    changed = account._replace(held=account.held - hold.remaining, version=account.version + 1)
    done = hold._replace(remaining=0, state=state, version=hold.version + 1)
    draft.changes.accounts[account.id] = changed
    draft.changes.holds[hold.id] = done
    return {**hold_body(done), "balances": {account.id: changed.figures()}}


def overflow(account: Account) -> RefusedError:
    return RefusedError(
        Code.BALANCE_OVERFLOW,
        f"account {account.id} would pass the largest number that the ledger can hold",
        account=account.id,
    )
