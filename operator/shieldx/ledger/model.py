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

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from shieldx.ledger.draft import Draft, RefusedError, finish, overflow, touched
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

_decode = msgspec.json.decode


def decide(
    state: State, requests: Sequence[Request], now: int
) -> tuple[list[list[Answer]], Changes]:
    """Decide requests in order, each seeing what those before it did.

    `state` must know every account, hold, transfer, reference and used key that they touch
    (`touched` says which); it is not changed. `now` is not before the head's time.
    Returns one list of answers a request, and the changes that make them true.
    """
    draft = Draft(state, now)
    return [_decide(draft, request) for request in requests], draft.changes


def merge(state: State, changes: Changes) -> None:
    """Let the state know what became durable."""
    state.head = changes.head
    state.accounts.update(changes.accounts)
    state.holds.update(changes.holds)
    state.posted.update(changes.posted)
    state.keys.update(changes.keys)
    state.references.update(changes.references)


def _decide(draft: Draft, request: Request) -> list[Answer]:
    if request.atomic:
        return _decide_together(draft, request)
    return [
        _decide_one(draft, request.caller, key, operation)
        for operation, key in zip(request.operations, request.keys, strict=True)
    ]


def _decide_one(draft: Draft, caller: str, key: str | None, operation: Operation) -> Answer:
    text = canonical(operation)
    if key is not None and (known := draft.remembered((caller, key))):
        return _replay(known, text)
    try:
        draft.settle_expired(operation)
        body = _apply(draft, operation)
        code = Code.CREATED
    except RefusedError as refused:
        code, body = refused.code, refused.body
    if isinstance(operation, Expire):
        return Answer(code, body)  # What has expired was chained when it was settled.
    draft.append(caller, key, text, code, body)
    return Answer(code, body)


def _decide_together(draft: Draft, request: Request) -> list[Answer]:
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


def _apply(draft: Draft, operation: Operation) -> dict[str, Any]:  # noqa: PLR0911 - one a kind.
    match operation:
        case Transfer():
            return _transfer(draft, operation)
        case Reserve():
            return _reserve(draft, operation)
        case Commit():
            return _commit(draft, operation)
        case Void():
            return finish(draft, draft.open_hold(operation.hold), "voided")
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


def _open(draft: Draft, operation: OpenAccount) -> dict[str, Any]:
    if draft.find(operation.id) is not None:
        raise RefusedError(
            Code.ACCOUNT_EXISTS, f"account {operation.id} exists already", account=operation.id
        )
    account = Account(operation.id, 0, 0, operation.floor, "open", 1, operation.metadata, None)
    draft.changes.accounts[operation.id] = account
    return account_body(account)


def _change(draft: Draft, operation: ChangeAccount) -> dict[str, Any]:
    account = draft.account(operation.id)
    if operation.state == "closed" and (account.balance or account.held):
        raise RefusedError(
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


def _transfer(draft: Draft, operation: Transfer) -> dict[str, Any]:
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


def _reverse(draft: Draft, operation: Reverse) -> dict[str, Any]:
    posted = draft.find_posted(operation.transfer)
    if posted is None:
        raise RefusedError(
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
        raise RefusedError(
            Code.TRANSFER_ALREADY_REVERSED,
            f"transfer {operation.transfer} has been reversed in full",
            transfer=operation.transfer,
        )
    amount = left if operation.amount is None else operation.amount
    if amount > left:
        raise RefusedError(
            Code.EXCEEDS_REVERSIBLE_AMOUNT,
            f"{left} of transfer {operation.transfer} can still be reversed, not {amount}",
            reversible=left,
            required=amount,
        )
    _must_cover(debit, amount)
    body = draft.move(debit, credit, amount, "reversal", {}, reverses=posted.seq)
    draft.changes.posted[operation.transfer] = posted._replace(reversed=posted.reversed + amount)
    return body


def _reserve(draft: Draft, operation: Reserve) -> dict[str, Any]:
    account, to = draft.account(operation.account), draft.account(operation.to)
    _must_pay(account)
    _must_receive(to)
    _must_cover(account, operation.amount)
    if account.held + operation.amount > MAX_AMOUNT:
        raise overflow(account)
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


def _commit(draft: Draft, operation: Commit) -> dict[str, Any]:
    hold = draft.open_hold(operation.hold)
    account, to = draft.account(hold.account), draft.account(hold.to)
    _must_pay(account)
    _must_receive(to)
    amount = hold.remaining if operation.amount is None else operation.amount
    if amount > hold.remaining:
        raise RefusedError(
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


def _expire(draft: Draft, operation: Expire) -> dict[str, Any]:
    hold = draft.find_hold(operation.hold)
    if hold is None:
        raise RefusedError(Code.HOLD_NOT_FOUND, f"there is no hold {operation.hold}")
    # `settle_expired` has done it if its time has passed; if not, there is nothing to do.
    return hold_body(hold)


def _must_pay(account: Account) -> None:
    if account.state == "open":
        return
    code = Code.ACCOUNT_FROZEN if account.state == "frozen" else Code.ACCOUNT_CLOSED
    raise RefusedError(
        code, f"account {account.id} is {account.state}: reopen it first", account=account.id
    )


def _must_receive(account: Account) -> None:
    if account.state == "closed":
        raise RefusedError(
            Code.ACCOUNT_CLOSED,
            f"account {account.id} is closed: reopen it first",
            account=account.id,
        )


def _must_cover(account: Account, amount: int) -> None:
    if account.floor is None:
        return
    spendable = account.balance - account.held - account.floor
    if amount > spendable:
        raise RefusedError(
            Code.INSUFFICIENT_CREDITS,
            f"account {account.id} has {spendable} available, {amount} is required",
            account=account.id,
            available=spendable,
            required=amount,
        )
