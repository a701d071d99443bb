"""What time has decided, done before anything else touches the account.

Time decides, not the keeper: from its moment on a hold cannot be committed nor a lot be spent,
though nobody has looked. Whatever touches an account first does what is due, in the order in
which it became due, as entries of their own.
"""

import heapq
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from shieldx.ledger import lots
from shieldx.ledger.draft import Draft, RefusedError, must_fit
from shieldx.ledger.operations import (
    BREAKAGE,
    ISSUANCE,
    ActivateGrant,
    Consequence,
    Expire,
    ExpireGrant,
    canonical,
)
from shieldx.ledger.records import (
    SYSTEM_CALLER,
    Account,
    Body,
    Code,
    Hold,
    Lot,
    hold_body,
    lot_body,
)


def settle(draft: Draft, names: Iterable[str]) -> None:
    """Do what is due on accounts, as far as they exist."""
    for name in names:
        account = draft.find(name)
        if account is not None and account.next_due is not None and account.next_due <= draft.now:
            _settle(draft, account)


def _settle(draft: Draft, account: Account) -> None:
    name = account.id
    waiting: list[tuple[int, str, Hold | None]] = [
        (hold.expires_at, hold.id, hold) for hold in draft.open_holds(name)
    ]
    if account.lots:
        waiting += [(lot.due, lot.id, None) for lot in draft.open_lots(name) if lot.due is not None]
    heapq.heapify(waiting)
    while waiting and waiting[0][0] <= draft.now:
        _, identity, hold = heapq.heappop(waiting)
        if hold is not None:
            _chain(draft, Expire(hold=identity), finish(draft, hold, "expired"))
            continue
        lot = _let_time_pass(draft, draft.lot(identity))
        if lot.due is not None:
            heapq.heappush(waiting, (lot.due, identity, None))
    settled = draft.account(name)
    draft.put(replace(settled, next_due=waiting[0][0] if waiting else None))


def finish(draft: Draft, hold: Hold, state: str) -> dict[str, Any]:
    """End a hold without paying: what it held is free again, or has lapsed with its lot."""
    account = draft.account(hold.account)
    account, lapsed = lots.release(draft, account, hold.claims)
    released = replace(account, held=account.held - hold.remaining, version=account.version + 1)
    draft.put(lots.rested(released))
    done = replace(hold, remaining=0, state=state, version=hold.version + 1, claims=())
    draft.changes.holds[hold.id] = done
    lots.sweep(draft, hold.account, lapsed)
    figures = draft.account(hold.account).figures()
    return {**hold_body(done), "balances": {hold.account: figures}}


def _let_time_pass(draft: Draft, lot: Lot) -> Lot:
    """Activate a lot or let it expire; return it as it becomes."""
    if lot.state == "pending":
        return _activate(draft, lot)
    account, breakage = draft.account(lot.account), draft.account(BREAKAGE)
    free = lot.remaining - lot.held
    account = lots.put(draft, account, lot, replace(lot, remaining=lot.held, state="expired"))
    operation, over = ExpireGrant(grant=lot.id), draft.lot(lot.id)
    if free:
        _chain(draft, operation, draft.move(account, breakage, free, "expiry", {}))
    else:
        draft.put(replace(account, version=account.version + 1))
        _chain(draft, operation, lot_body(over))
    return over


def _activate(draft: Draft, lot: Lot) -> Lot:
    issuance, account = draft.account(ISSUANCE), draft.account(lot.account)
    operation = ActivateGrant(grant=lot.id)
    try:
        must_fit(issuance, account, lot.amount)
    except RefusedError as refused:
        # Nobody is there to be refused: the grant ends here, and the chain says why.
        account = lots.put(draft, account, lot, replace(lot, remaining=0, state="voided"))
        draft.put(replace(account, version=account.version + 1))
        _chain(draft, operation, refused.body, refused.code)
        return draft.lot(lot.id)
    account = lots.put(draft, account, lot, replace(lot, state="active"))
    _chain(draft, operation, draft.move(issuance, account, lot.amount, "grant", lot.metadata))
    return draft.lot(lot.id)


def _chain(draft: Draft, operation: Consequence, body: Body, code: Code = Code.CREATED) -> None:
    draft.append(SYSTEM_CALLER, None, canonical(operation), code, body)
