"""The rules of the ledger, once and pure: `decide` is the engine.

State comes in, answers, changed rows and chain entries go out; nothing here reads a clock, a
database or a socket. Order of refusal, the same for every operation:

    idempotency_key_reused                       the key was used for something else
    transfer_not_found, hold_not_found           what is spoken of does not exist
    hold_already_committed | _voided | expired   it is finished
    account_exists, account_not_found            debit side first
    account_closed, account_frozen               debit side first
    account_not_empty                            closing needs balance and holds of zero
    reference_already_used
    exceeds_hold_amount, transfer_already_reversed, exceeds_reversible_amount
    balance_overflow
    insufficient_credits

A refusal is an answer like any other: it is chained, and its key replays it for ever.
Times are integers: microseconds since 1970.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    canonical_batch,
    first_difference,
)
from shieldx.ledger.records import (
    MICROSECONDS,
    SYSTEM_CALLER,
    Account,
    Answer,
    Changes,
    Code,
    Entry,
    Head,
    Hold,
    Key,
    Movement,
    Posted,
    Remembered,
    Request,
    State,
    account_body,
    hold_body,
    transfer_id,
)

__all__ = [
    "MICROSECONDS",
    "SYSTEM_CALLER",
    "Account",
    "Answer",
    "Changes",
    "Code",
    "Entry",
    "Head",
    "Hold",
    "Key",
    "Movement",
    "Posted",
    "Remembered",
    "Request",
    "State",
    "account_body",
    "decide",
    "hold_body",
    "merge",
    "touched",
    "transfer_id",
]

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.decode


class _RefusedError(Exception):
    """An operation is refused; the facts go into the answer."""

    def __init__(self, code: Code, message: str, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.body: dict[str, object] = {"message": message, **facts}


def decide(
    state: State, requests: Sequence[Request], now: int
) -> tuple[list[list[Answer]], Changes]:
    """Decide requests in order, each seeing what those before it did.

    `state` must know every account, hold, transfer, reference and used key that they touch
    (`touched` says which); it is not changed. `now` is not before the head's time.
    Returns one list of answers a request, and the changes that make them true.
    """
    draft = _Draft(state, now)
    return [_decide(draft, request) for request in requests], draft.changes


def merge(state: State, changes: Changes) -> None:
    """Let the state know what became durable."""
    state.head = changes.head
    state.accounts.update(changes.accounts)
    state.holds.update(changes.holds)
    state.posted.update(changes.posted)
    state.keys.update(changes.keys)
    state.references.update(changes.references)


def _decide(draft: "_Draft", request: Request) -> list[Answer]:
    if request.atomic:
        return _decide_together(draft, request)
    return [
        _decide_one(draft, request.caller, key, operation)
        for operation, key in zip(request.operations, request.keys, strict=True)
    ]


def _decide_one(draft: "_Draft", caller: str, key: str | None, operation: Operation) -> Answer:
    text = canonical(operation)
    if key is not None and (known := draft.remembered((caller, key))):
        return _replay(known, text)
    try:
        draft.settle_expired(operation)
        body = _apply(draft, operation)
        code = Code.CREATED
    except _RefusedError as refused:
        code, body = refused.code, refused.body
    if isinstance(operation, Expire):
        return Answer(code, body)  # What has expired was chained when it was settled.
    draft.append(caller, key, text, code, body)
    return Answer(code, body)


def _decide_together(draft: "_Draft", request: Request) -> list[Answer]:
    (key,) = request.keys
    texts = [canonical(operation) for operation in request.operations]
    text = canonical_batch(texts)
    if key is not None and (known := draft.remembered((request.caller, key))):
        answer = _replay(known, text)
        if answer.code is Code.IDEMPOTENCY_KEY_REUSED:
            return [answer for _ in texts]
        return [Answer(Code(r["code"]), r["body"], replayed=True) for r in answer.body["results"]]
    before = draft.changes.copy()
    answers: list[Answer] = []
    code = Code.CREATED
    for index, operation in enumerate(request.operations):
        answer = _decide_one(draft, request.caller, None, operation)
        answers.append(answer)
        if answer.code is not Code.CREATED:
            code = answer.code
            draft.changes = before
            message = f"nothing was done, since operation {index} was refused: {code}"
            answers = [Answer(Code.BATCH_ABORTED, {"message": message})] * len(texts)
            answers[index] = answer
            break
    results = [{"code": answer.code, "body": answer.body} for answer in answers]
    draft.append(request.caller, key, text, code, {"results": results})
    return answers


def _replay(known: Remembered, text: bytes) -> Answer:
    if known.operation != text:
        differs = first_difference(known.operation, text)
        return Answer(
            Code.IDEMPOTENCY_KEY_REUSED,
            {
                "message": f"this Idempotency-Key was used for a request with another {differs}: "
                "use a new key for a new request",
                "field": differs,
            },
        )
    return Answer(Code(known.code), _decode(known.answer), replayed=True)


def _apply(draft: "_Draft", operation: Operation) -> dict[str, Any]:  # noqa: PLR0911 - one a kind.
    match operation:
        case Transfer():
            return _transfer(draft, operation)
        case Reserve():
            return _reserve(draft, operation)
        case Commit():
            return _commit(draft, operation)
        case Void():
            return _finish(draft, draft.open_hold(operation.hold), "voided")
        case Expire():
            return _expire(draft, operation)
        case Reverse():
            return _reverse(draft, operation)
        case OpenAccount():
            return _open(draft, operation)
        case ChangeAccount():
            return _change(draft, operation)
        case _:
            assert_never(operation)


def _open(draft: "_Draft", operation: OpenAccount) -> dict[str, Any]:
    if draft.find(operation.id) is not None:
        raise _RefusedError(
            Code.ACCOUNT_EXISTS, f"account {operation.id} exists already", account=operation.id
        )
    account = Account(operation.id, 0, 0, operation.floor, "open", 1, operation.metadata, None)
    draft.changes.accounts[operation.id] = account
    return account_body(account)


def _change(draft: "_Draft", operation: ChangeAccount) -> dict[str, Any]:
    account = draft.account(operation.id)
    if operation.state == "closed" and (account.balance or account.held):
        raise _RefusedError(
            Code.ACCOUNT_NOT_EMPTY,
            f"account {account.id} has a balance of {account.balance} and {account.held} held: "
            "move the credits away and finish its holds first",
            account=account.id,
            balance=account.balance,
            held=account.held,
        )
    changed = account._replace(
        state=account.state if operation.state is None else operation.state,
        metadata=account.metadata if operation.metadata is None else operation.metadata,
        version=account.version + 1,
    )
    draft.changes.accounts[account.id] = changed
    return account_body(changed)


def _transfer(draft: "_Draft", operation: Transfer) -> dict[str, Any]:
    debit, credit = draft.account(operation.debit), draft.account(operation.credit)
    _must_pay(debit)
    _must_receive(credit)
    if operation.reference is not None:
        draft.claim_reference(operation.reference)
    _must_cover(debit, operation.amount)
    return draft.move(
        debit,
        credit,
        operation.amount,
        operation.kind,
        operation.metadata,
        reference=operation.reference,
    )


def _reverse(draft: "_Draft", operation: Reverse) -> dict[str, Any]:
    posted = draft.find_posted(operation.transfer)
    if posted is None:
        raise _RefusedError(
            Code.TRANSFER_NOT_FOUND,
            f"there is no transfer {operation.transfer}",
            transfer=operation.transfer,
        )
    # The money goes back: who was credited pays.
    debit, credit = draft.account(posted.credit), draft.account(posted.debit)
    _must_pay(debit)
    _must_receive(credit)
    left = posted.amount - posted.reversed
    if not left:
        raise _RefusedError(
            Code.TRANSFER_ALREADY_REVERSED,
            f"transfer {operation.transfer} has been reversed in full",
            transfer=operation.transfer,
        )
    amount = left if operation.amount is None else operation.amount
    if amount > left:
        raise _RefusedError(
            Code.EXCEEDS_REVERSIBLE_AMOUNT,
            f"{left} of transfer {operation.transfer} can still be reversed, not {amount}",
            reversible=left,
            required=amount,
        )
    _must_cover(debit, amount)
    body = draft.move(debit, credit, amount, "reversal", {}, reverses=posted.seq)
    draft.changes.posted[operation.transfer] = posted._replace(reversed=posted.reversed + amount)
    return body


def _reserve(draft: "_Draft", operation: Reserve) -> dict[str, Any]:
    account, to = draft.account(operation.account), draft.account(operation.to)
    _must_pay(account)
    _must_receive(to)
    _must_cover(account, operation.amount)
    if account.held + operation.amount > MAX_AMOUNT:
        raise _overflow(account)
    expires_at = draft.now + operation.timeout_seconds * MICROSECONDS
    hold = Hold(
        f"hold_{draft.state.shard}_{draft.changes.head.position + 1}",
        account.id,
        to.id,
        operation.amount,
        operation.amount,
        0,
        "held",
        expires_at,
        1,
        operation.metadata,
    )
    changed = account._replace(
        held=account.held + operation.amount,
        version=account.version + 1,
        next_expiry=min(expires_at, account.next_expiry or expires_at),
    )
    draft.changes.accounts[account.id] = changed
    draft.changes.holds[hold.id] = hold
    return {**hold_body(hold), "balances": {account.id: changed.figures()}}


def _commit(draft: "_Draft", operation: Commit) -> dict[str, Any]:
    hold = draft.open_hold(operation.hold)
    account, to = draft.account(hold.account), draft.account(hold.to)
    _must_pay(account)
    _must_receive(to)
    amount = hold.remaining if operation.amount is None else operation.amount
    if amount > hold.remaining:
        raise _RefusedError(
            Code.EXCEEDS_HOLD_AMOUNT,
            f"hold {hold.id} has {hold.remaining} left, not {amount}",
            remaining=hold.remaining,
            required=amount,
        )
    left = 0 if operation.final else hold.remaining - amount
    # What is paid or released is no longer held, then it moves: the balance covers it by then.
    released = account._replace(held=account.held - hold.remaining + left)
    transfer = draft.move(released, to, amount, "commit", hold.metadata)
    done = hold._replace(
        remaining=left,
        committed=hold.committed + amount,
        state="held" if left else "committed",
        version=hold.version + 1,
    )
    draft.changes.holds[hold.id] = done
    balances = transfer["balances"]
    return {**hold_body(done), "balances": balances, "transfer": transfer["id"]}


def _expire(draft: "_Draft", operation: Expire) -> dict[str, Any]:
    hold = draft.find_hold(operation.hold)
    if hold is None:
        raise _RefusedError(Code.HOLD_NOT_FOUND, f"there is no hold {operation.hold}")
    # `settle_expired` has done it if its time has passed; if not, there is nothing to do.
    return hold_body(hold)


def _finish(draft: "_Draft", hold: Hold, state: str) -> dict[str, Any]:
    account = draft.account(hold.account)
    changed = account._replace(held=account.held - hold.remaining, version=account.version + 1)
    done = hold._replace(remaining=0, state=state, version=hold.version + 1)
    draft.changes.accounts[account.id] = changed
    draft.changes.holds[hold.id] = done
    return {**hold_body(done), "balances": {account.id: changed.figures()}}


def _must_pay(account: Account) -> None:
    if account.state == "open":
        return
    code = Code.ACCOUNT_FROZEN if account.state == "frozen" else Code.ACCOUNT_CLOSED
    raise _RefusedError(
        code, f"account {account.id} is {account.state}: reopen it first", account=account.id
    )


def _must_receive(account: Account) -> None:
    if account.state == "closed":
        raise _RefusedError(
            Code.ACCOUNT_CLOSED,
            f"account {account.id} is closed: reopen it first",
            account=account.id,
        )


def _must_cover(account: Account, amount: int) -> None:
    if account.floor is None:
        return
    spendable = account.balance - account.held - account.floor
    if amount > spendable:
        raise _RefusedError(
            Code.INSUFFICIENT_CREDITS,
            f"account {account.id} has {spendable} available, {amount} is required",
            account=account.id,
            available=spendable,
            required=amount,
        )


def _overflow(account: Account) -> _RefusedError:
    return _RefusedError(
        Code.BALANCE_OVERFLOW,
        f"account {account.id} would pass the largest number that the ledger can hold",
        account=account.id,
    )


class _Draft:
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
            raise _RefusedError(
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
            raise _RefusedError(Code.HOLD_NOT_FOUND, f"there is no hold {hold}", hold=hold)
        match found.state:
            case "held":
                return found
            case "committed":
                code = Code.HOLD_ALREADY_COMMITTED
            case "voided":
                code = Code.HOLD_ALREADY_VOIDED
            case _:
                code = Code.HOLD_EXPIRED
        raise _RefusedError(code, f"hold {hold} is {found.state}", hold=hold, state=found.state)

    def claim_reference(self, reference: str) -> None:
        user = self.changes.references.get(reference) or self.state.references[reference]
        if user is not None:
            raise _RefusedError(
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
            raise _overflow(credit)
        if debit.balance - amount < -MAX_AMOUNT:
            raise _overflow(debit)
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
            body = _finish(self, hold, "expired")
            text = canonical(Expire(hold=hold.id))
            self.append(SYSTEM_CALLER, None, text, Code.CREATED, body)
        settled = self.account(account)
        self.changes.accounts[account] = settled._replace(next_expiry=min(following, default=None))

    def _open_holds(self, account: str) -> Iterator[Hold]:
        changed = self.changes.holds
        yield from (hold for hold in self.state.due.get(account, ()) if hold.id not in changed)
        yield from (h for h in changed.values() if h.account == account and h.state == "held")


def touched(operation: Operation, known: "_Draft | State") -> tuple[str, ...]:
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


def _lookup(known: "_Draft | State", table: str, name: str) -> Any:
    if isinstance(known, State):
        return getattr(known, table).get(name)
    return getattr(known.changes, table).get(name) or getattr(known.state, table).get(name)
