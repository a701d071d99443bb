"""The rules of the ledger, once and pure: `decide` is the engine.

State comes in, answers, changed rows and chain entries go out; nothing here reads a clock, a
database or a socket. Order of refusal, the same for every operation:

    idempotency_key_reused                       the key was used for something else
    transfer_not_found, hold_not_found           what is spoken of does not exist
    hold_already_committed | _voided | expired   it is finished
    account_exists, account_not_found            debit side first
    account_closed, account_frozen               debit side first
    account_not_empty                            closing needs no balance, no holds, no grants
    grant_not_found, grant_already_voided | _expired | _exhausted
    reference_already_used
    exceeds_hold_amount, transfer_already_reversed, exceeds_reversible_amount
    balance_overflow
    insufficient_credits

A refusal is an answer like any other: it is chained, and its key replays it for ever.
Times are integers: microseconds since 1970.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec.structs import asdict, replace

from shieldx.ledger import due
from shieldx.ledger.draft import Draft, RefusedError, touched
from shieldx.ledger.operations import (
    Alert,
    Operation,
    Settle,
    canonical,
    canonical_batch,
    first_difference,
)
from shieldx.ledger.records import (
    MICROSECONDS,
    SYSTEM_CALLER,
    Account,
    Answer,
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
    Request,
    State,
    account_body,
    hold_body,
    lot_body,
    transfer_id,
)
from shieldx.ledger.rules import apply

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
    "Lot",
    "Movement",
    "Part",
    "Posted",
    "Remembered",
    "Request",
    "State",
    "account_body",
    "decide",
    "decide_next",
    "fill_purse",
    "hold_body",
    "lot_body",
    "merge",
    "touched",
    "transfer_id",
]

_decode: Final = msgspec.json.decode


def decide(
    state: State, requests: Sequence[Request], now: int
) -> tuple[list[list[Answer]], Changes]:
    """Decide requests in order, each seeing what those before it did.

    `state` must know every account, hold, transfer, reference and used key that they touch
    (`touched` says which); it is not changed. `now` is not before the head's time.
    Returns one list of answers a request, and the changes that make them true.
    """
    draft = Draft(state, now)
    return [decide_next(draft, request) for request in requests], draft.changes


def merge(state: State, changes: Changes) -> None:
    """Let the state know what became durable."""
    state.head = changes.head
    state.accounts.update(changes.accounts)
    state.lots.update(changes.lots)
    for account in {lot.account for lot in changes.lots.values()}:
        fill_purse(state, account, changes.opened.get(account, ()))
    state.holds.update(changes.holds)
    state.posted.update(changes.posted)
    state.keys.update(changes.keys)
    state.references.update(changes.references)


def fill_purse(state: State, account: str, opened: Iterable[str]) -> None:
    """Put lots among an account's open ones, in burning order, and take out what is over."""
    ids = dict.fromkeys((*state.purses.get(account, ()), *opened))
    known = ((state.lots[grant], grant) for grant in ids)
    still_open = [(lot.order, grant) for lot, grant in known if lot is not None and lot.is_open]
    state.purses[account] = [grant for _, grant in sorted(still_open)]


def decide_next(draft: Draft, request: Request) -> list[Answer]:
    """Decide one more request of a batch: one answer an operation."""
    if request.atomic:
        return _decide_together(draft, request)
    caller, operations, keys = request.caller, request.operations, request.keys
    if len(operations) == 1:
        return [_decide_one(draft, caller, keys[0], operations[0])]
    return [
        _decide_one(draft, caller, key, operation)
        for operation, key in zip(operations, keys, strict=True)
    ]


def _decide_one(draft: Draft, caller: str, key: str | None, operation: Operation) -> Answer:
    text = canonical(operation)
    if key is not None and (known := draft.remembered((caller, key))):
        return _replay(known, text)
    due.settle(draft, touched(operation, draft))
    try:
        body: Body = apply(draft, operation)
        code = Code.CREATED
    except RefusedError as refused:
        code, body = refused.code, refused.body
    receipt = None
    if not isinstance(operation, Settle):  # What was due has entries of its own.
        receipt = draft.append(caller, key, text, code, body)
    if draft.watched:
        _raise_alerts(draft)
    return Answer(code, body, receipt=receipt)


def _raise_alerts(draft: Draft) -> None:
    """Say once of an account that less is available than its alert asks for."""
    for name in draft.watched:
        account = draft.account(name)
        below = account.alert is not None and account.available < account.alert
        if below == account.alerted:
            continue
        draft.changes.accounts[name] = replace(account, alerted=below)
        if below:
            body = {"account": name, "available_below": account.alert, **asdict(account.figures())}
            text = canonical(Alert(account=name))
            draft.append(SYSTEM_CALLER, None, text, Code.CREATED, body)
    draft.watched.clear()


def _decide_together(draft: Draft, request: Request) -> list[Answer]:
    (key,) = request.keys
    texts = [canonical(operation) for operation in request.operations]
    text = canonical_batch(texts)
    if key is not None and (known := draft.remembered((request.caller, key))):
        answer = _replay(known, text)
        if answer.code is Code.IDEMPOTENCY_KEY_REUSED:
            return [answer for _ in texts]
        return [
            Answer(Code(one["code"]), one["body"], replayed=True, receipt=one.get("receipt"))
            for one in answer.said["results"]
        ]
    before = draft.changes.copy()
    answers: list[Answer] = []
    code = Code.CREATED
    for index, operation in enumerate(request.operations):
        answer = _decide_one(draft, request.caller, None, operation)
        answers.append(answer)
        if answer.code is not Code.CREATED:
            code = answer.code
            draft.changes = before
            draft.watched.clear()
            message = f"nothing was done, since operation {index} was refused: {code}"
            answers = [Answer(Code.BATCH_ABORTED, {"message": message})] * len(texts)
            answers[index] = replace(answer, receipt=None)  # Its entry is undone as well.
            break
    results = [_result(answer) for answer in answers]
    draft.append(request.caller, key, text, code, {"results": results})
    return answers


def _result(answer: Answer) -> dict[str, object]:
    result: dict[str, object] = {"code": answer.code, "body": answer.said}
    return result if answer.receipt is None else {**result, "receipt": answer.receipt}


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
    return Answer(Code(known.code), _decode(known.answer), replayed=True, receipt=known.receipt)
