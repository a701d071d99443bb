"""The rules of the ledger, one function an operation, pure: see `model` for the order of refusals.

A rule refuses before it changes anything, so that what is refused has changed nothing.
"""

from typing import Any, assert_never

from msgspec.structs import replace

from shieldx.ledger import lots
from shieldx.ledger.draft import Draft, RefusedError, must_fit, overflow
from shieldx.ledger.due import finish
from shieldx.ledger.operations import (
    ISSUANCE,
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
    MICROSECONDS,
    Account,
    Body,
    Code,
    Figures,
    Hold,
    Lot,
    TransferBody,
    account_body,
    hold_body,
    lot_body,
)


def apply(draft: Draft, operation: Operation) -> Body:  # noqa: C901, PLR0911, PLR0912 - one a kind.
    """Do an operation and return its answer's body, or raise RefusedError."""
    match operation:
        case Transfer():
            return _transfer(draft, operation)
        case Reserve():
            return _reserve(draft, operation)
        case Commit():
            return _commit(draft, operation)
        case Void():
            return finish(draft, draft.open_hold(operation.hold), "voided")
        case Reverse():
            return _reverse(draft, operation)
        case Grant():
            return _grant(draft, operation)
        case VoidGrant():
            return _void_grant(draft, operation)
        case OpenAccount():
            return _open(draft, operation)
        case ChangeAccount():
            return _change(draft, operation)
        case SetAlert():
            return _set_alert(draft, operation)
        case Note():
            return _note(draft, operation)
        case Settle():
            return {}  # Whatever touches an account settles it first, and this does nothing more.
        case _:
            assert_never(operation)


def _open(draft: Draft, operation: OpenAccount) -> dict[str, Any]:
    if draft.find(operation.id) is not None:
        raise RefusedError(
            Code.ACCOUNT_EXISTS, f"account {operation.id} exists already", account=operation.id
        )
    account = Account(operation.id, 0, 0, operation.floor, "open", 1, operation.metadata)
    draft.put(account)
    return account_body(account)


def _change(draft: Draft, operation: ChangeAccount) -> dict[str, Any]:
    account = draft.account(operation.id)
    if operation.state == "closed" and (account.balance or account.held or account.lots):
        raise RefusedError(
            Code.ACCOUNT_NOT_EMPTY,
            f"account {account.id} has a balance of {account.balance}, {account.held} held and "
            f"{account.lots} grants: move the credits away, finish its holds and void its grants",
            account=account.id,
            balance=account.balance,
            held=account.held,
            grants=account.lots,
        )
    changed = replace(
        account,
        state=account.state if operation.state is None else operation.state,
        metadata=account.metadata if operation.metadata is None else operation.metadata,
        version=account.version + 1,
    )
    draft.put(changed)
    return account_body(changed)


def _transfer(draft: Draft, operation: Transfer) -> TransferBody:
    debit, credit = draft.account(operation.debit), draft.account(operation.credit)
    _must_be_open(debit, credit)
    if operation.reference is not None:
        draft.claim_reference(operation.reference)
    must_fit(debit, credit, operation.amount)
    _must_cover(debit, operation.amount)
    debit, burnt = lots.burn(draft, debit, operation.amount)
    return draft.move(
        debit,
        credit,
        operation.amount,
        operation.kind,
        operation.metadata,
        reference=operation.reference,
        burnt=burnt,
    )


def _reverse(draft: Draft, operation: Reverse) -> TransferBody:
    posted = draft.find_posted(operation.transfer)
    if posted is None:
        raise RefusedError(
            Code.TRANSFER_NOT_FOUND,
            f"there is no transfer {operation.transfer}",
            transfer=operation.transfer,
        )
    # The money goes back: who was credited pays.
    debit, credit = draft.account(posted.credit), draft.account(posted.debit)
    _must_be_open(debit, credit)
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
    must_fit(debit, credit, amount)
    _must_cover(debit, amount)
    debit, burnt = lots.burn(draft, debit, amount)
    given_back = lots.undone(posted.burnt, posted.amount, posted.reversed, amount)
    credit, restored, lapsed = lots.restore(draft, credit, given_back)
    body = draft.move(
        debit,
        credit,
        amount,
        "reversal",
        {},
        reverses=posted.seq,
        burnt=burnt,
        restored=restored,
    )
    draft.changes.posted[operation.transfer] = replace(posted, reversed=posted.reversed + amount)
    lots.sweep(draft, credit.id, lapsed)
    return replace(body, balances=_figures(draft, debit.id, credit.id))


def _reserve(draft: Draft, operation: Reserve) -> dict[str, Any]:
    account, to = draft.account(operation.account), draft.account(operation.to)
    _must_be_open(account, to)
    if account.held + operation.amount > MAX_AMOUNT:
        raise overflow(account)
    _must_cover(account, operation.amount)
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
        lots.claim(draft, account, operation.amount),
    )
    changed = replace(
        account,
        held=account.held + operation.amount,
        version=account.version + 1,
        next_due=lots.earlier(account.next_due, expires_at),
    )
    draft.put(changed)
    draft.changes.holds[hold.id] = hold
    return {**hold_body(hold), "balances": {account.id: changed.figures()}}


def _commit(draft: Draft, operation: Commit) -> dict[str, Any]:
    hold = draft.open_hold(operation.hold)
    account, to = draft.account(hold.account), draft.account(hold.to)
    _must_be_open(account, to)
    amount = hold.remaining if operation.amount is None else operation.amount
    if amount > hold.remaining:
        raise RefusedError(
            Code.EXCEEDS_HOLD_AMOUNT,
            f"hold {hold.id} has {hold.remaining} left, not {amount}",
            remaining=hold.remaining,
            required=amount,
        )
    must_fit(account, to, amount)
    left = 0 if operation.final else hold.remaining - amount
    account, burnt, claims = lots.burn_claims(draft, account, hold.claims, amount)
    lapsed = lots.Lapsed()
    if not left:
        account, lapsed = lots.release(draft, account, claims)
        claims = ()
    # What is paid or released is no longer held, then it moves: the balance covers it by then.
    released = lots.rested(replace(account, held=account.held - hold.remaining + left))
    transfer = draft.move(released, to, amount, "commit", hold.metadata, burnt=burnt)
    done = replace(
        hold,
        remaining=left,
        committed=hold.committed + amount,
        state="held" if left else "committed",
        version=hold.version + 1,
        claims=claims,
    )
    draft.changes.holds[hold.id] = done
    lots.sweep(draft, account.id, lapsed)
    balances = _figures(draft, account.id, to.id)
    return {**hold_body(done), "balances": balances, "transfer": transfer.id}


def _grant(draft: Draft, operation: Grant) -> dict[str, Any]:
    issuance, account = draft.account(ISSUANCE), draft.account(operation.account)
    _must_be_open(issuance, account)
    now = draft.now
    if operation.expires_at is not None and operation.expires_at <= now:
        raise RefusedError(
            Code.GRANT_EXPIRED,
            "the grant would have expired already: send a later expires_at",
            expires_at=operation.expires_at,
        )
    must_fit(issuance, account, operation.amount)
    effective_at = now if operation.effective_at is None else operation.effective_at
    position = draft.changes.head.position + 1
    lot = Lot(
        f"grant_{draft.state.shard}_{position}",
        account.id,
        operation.amount,
        operation.amount,
        0,
        operation.priority,
        effective_at,
        operation.expires_at,
        "pending" if effective_at > now else "active",
        position,
        0,
        operation.metadata,
    )
    nothing = replace(lot, remaining=0, state="exhausted")
    account = lots.put(draft, account, nothing, lot)
    account = replace(account, next_due=lots.earlier(account.next_due, lot.due))
    transfer: dict[str, Any] = {}
    if lot.state == "pending":
        draft.put(replace(account, version=account.version + 1))
    else:
        moved = draft.move(issuance, account, lot.amount, "grant", lot.metadata)
        transfer = {"transfer": moved.id}
    return _granted(draft, lot.id) | transfer


def _void_grant(draft: Draft, operation: VoidGrant) -> dict[str, Any]:
    account = draft.account(operation.account)
    lot = draft.find_lot(operation.grant)
    if lot is None or lot.account != account.id:
        raise RefusedError(
            Code.GRANT_NOT_FOUND,
            f"account {account.id} has no grant {operation.grant}",
            account=account.id,
            grant=operation.grant,
        )
    codes = {
        "voided": Code.GRANT_ALREADY_VOIDED,
        "expired": Code.GRANT_EXPIRED,
        "exhausted": Code.GRANT_EXHAUSTED,
    }
    if lot.state in codes:
        raise RefusedError(
            codes[lot.state], f"grant {lot.id} is {lot.state}", grant=lot.id, state=lot.state
        )
    issuance = draft.account(ISSUANCE)
    free = lot.remaining - lot.held if lot.state == "active" else 0
    account = lots.put(draft, account, lot, replace(lot, remaining=lot.held, state="voided"))
    if not free:
        draft.put(replace(account, version=account.version + 1))
        return _granted(draft, lot.id)
    moved = draft.move(account, issuance, free, "void_grant", {})
    return {**_granted(draft, lot.id), "transfer": moved.id}


def _granted(draft: Draft, grant: str) -> dict[str, Any]:
    lot = draft.lot(grant)
    return {**lot_body(lot), "balances": _figures(draft, lot.account)}


def _figures(draft: Draft, *accounts: str) -> dict[str, Figures]:
    return {name: draft.account(name).figures() for name in accounts}


def _set_alert(draft: Draft, operation: SetAlert) -> dict[str, Any]:
    account = draft.account(operation.account)
    changed = replace(
        account, alert=operation.available_below, alerted=False, version=account.version + 1
    )
    draft.put(changed)
    return {
        "account": account.id,
        "available_below": changed.alert,
        "balances": {account.id: changed.figures()},
    }


def _note(draft: Draft, operation: Note) -> dict[str, Any]:
    position = draft.changes.head.position + 1
    return {
        "id": f"note_{draft.state.shard}_{position}",
        "kind": operation.kind,
        "digest": operation.digest,
        "position": position,
        "at": draft.now,
    }


def _must_be_open(debit: Account, credit: Account) -> None:
    """Refuse unless the one may pay and the other may receive, which a frozen account may."""
    if debit.state != "open":
        code = Code.ACCOUNT_FROZEN if debit.state == "frozen" else Code.ACCOUNT_CLOSED
        raise RefusedError(
            code, f"account {debit.id} is {debit.state}: reopen it first", account=debit.id
        )
    if credit.state == "closed":
        raise RefusedError(
            Code.ACCOUNT_CLOSED,
            f"account {credit.id} is closed: reopen it first",
            account=credit.id,
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
