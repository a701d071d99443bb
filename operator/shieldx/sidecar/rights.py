"""What a caller may do with which accounts, decided before the ledger is asked.

    both sides of an operation must lie within the caller's prefixes, else they do not exist;
    the default counter-accounts (system/revenue when paying, system/issuance when refilling) may
    be the other side of everybody's operation;
    debiting an account below system/ by any door needs `issue`, reversing a payment to it too;
    moving what exists needs `write` by any door, also by a refill from another account;
    a floor below 0 and an account's state need `admin`.

A hold or transfer is judged by its accounts, which never change: `parties` are looked up first,
and only for callers for whom they matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shieldx.ledger import operations as ops
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.scopes import Scope

ALL: Final = frozenset(Scope)
UNKNOWN: Final = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operation is refused before it reaches the ledger; its key is not burnt."""

    code: str
    message: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def hidden_account(account: str) -> Refusal:
    return Refusal("account_not_found", f"There is no account {account}.", {"account": account})


def hidden_hold(hold: str) -> Refusal:
    return Refusal("hold_not_found", f"There is no hold {hold}.", {"hold": hold})


def hidden_transfer(transfer: str) -> Refusal:
    return Refusal(
        "transfer_not_found", f"There is no transfer {transfer}.", {"transfer": transfer}
    )


def missing_scope(scope: Scope) -> Refusal:
    message = f"The caller needs scope {scope}; give it where spec.api.auth names the caller."
    return Refusal("missing_scope", message, {"scope": scope.value})


def parties_wanted(caller: Caller, operation: ops.Operation) -> str | None:
    """Return the hold or transfer whose accounts must be known to judge the operation."""
    if caller.prefixes is None and caller.may(Scope.ISSUE):
        return None
    match operation:
        case ops.Transfer():
            return None
        case ops.Commit() | ops.Void():
            return operation.hold
        case ops.Reverse():
            return operation.transfer
        case _:
            return None


def judge(  # noqa: PLR0911 — one an operation
    caller: Caller, operation: ops.Operation, parties: tuple[str, ...] = ()
) -> Refusal | None:
    """Return why the caller may not do this, or None.

    `parties` are the accounts of the hold or transfer that is wanted, debit side first; none if
    it does not exist.
    """
    if caller.prefixes is None and caller.scopes >= ALL:
        return None
    scope = _scope(operation)
    if scope not in caller.scopes:
        return missing_scope(scope)
    match operation:
        case ops.Transfer():
            return _judge_transfer(caller, operation)
        case ops.OpenAccount():
            return _judge_opening(caller, operation)
        case ops.ChangeAccount():
            return _judge_change(caller, operation)
        case ops.Reserve():
            return _judge_payment(caller, operation.account, operation.to)
        case ops.Grant() | ops.VoidGrant() | ops.SetAlert():
            seen = caller.sees(operation.account)
            return None if seen else hidden_account(operation.account)
        case ops.Note():
            return None
        case ops.Settle():
            raise TypeError(operation)
        case _:
            return _judge_known(caller, operation, parties)


def _scope(operation: ops.Operation) -> Scope:
    match operation:
        case ops.Transfer():
            return Scope.ISSUE if operation.kind == "refill" else Scope.WRITE
        case ops.Grant() | ops.VoidGrant():
            return Scope.ISSUE
        case _:
            return Scope.WRITE


def _judge_opening(caller: Caller, operation: ops.OpenAccount) -> Refusal | None:
    if not caller.sees(operation.id):
        return hidden_account(operation.id)
    if operation.floor is None or operation.floor < 0:
        return None if caller.may(Scope.ADMIN) else missing_scope(Scope.ADMIN)
    return None


def _judge_change(caller: Caller, operation: ops.ChangeAccount) -> Refusal | None:
    if not caller.sees(operation.id):
        return hidden_account(operation.id)
    if operation.state is not None and not caller.may(Scope.ADMIN):
        return missing_scope(Scope.ADMIN)
    return None


def _judge_transfer(caller: Caller, operation: ops.Transfer) -> Refusal | None:
    debit, credit = operation.debit, operation.credit
    match operation.kind:
        case "consume":
            return _judge_payment(caller, debit, credit)
        case "refill" if debit == ops.ISSUANCE:
            return None if caller.sees(credit) else hidden_account(credit)
        case "refill" if not debit.startswith(ops.SYSTEM_PREFIX) and not caller.may(Scope.WRITE):
            return missing_scope(Scope.WRITE)
        case _:
            hidden = next((one for one in (debit, credit) if not caller.sees(one)), None)
            return _judge_debit(caller, debit) if hidden is None else hidden_account(hidden)


def _judge_payment(caller: Caller, debit: str, credit: str) -> Refusal | None:
    """Judge what debits an account for another, or for the default one."""
    if not caller.sees(debit):
        return hidden_account(debit)
    if credit != ops.REVENUE and not caller.sees(credit):
        return hidden_account(credit)
    return _judge_debit(caller, debit)


def _judge_known(
    caller: Caller,
    operation: ops.Reverse | ops.Commit | ops.Void,
    parties: tuple[str, ...],
) -> Refusal | None:
    """Judge by the accounts of a hold or transfer.

    What was not there a moment ago may be there when the ledger decides, and be another's: so
    whoever has to be judged by the parties is refused without them.
    """
    if parties_wanted(caller, operation) is None:
        return None
    debit, credit = parties or (UNKNOWN, UNKNOWN)
    match operation:
        case ops.Reverse(transfer=transfer):
            sees_debit = debit == ops.ISSUANCE or caller.sees(debit)
            sees_credit = credit == ops.REVENUE or caller.sees(credit)
            if not parties or not (sees_debit and sees_credit):
                return hidden_transfer(transfer)
            return _judge_debit(caller, credit)
        case ops.Commit(hold=hold) | ops.Void(hold=hold):
            refusal = _judge_payment(caller, debit, credit)
            if not parties or (refusal is not None and refusal.code == "account_not_found"):
                return hidden_hold(hold)
            return refusal


def _judge_debit(caller: Caller, debit: str) -> Refusal | None:
    if debit.startswith(ops.SYSTEM_PREFIX) and not caller.may(Scope.ISSUE):
        return missing_scope(Scope.ISSUE)
    return None


def visible(caller: Caller, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out of an answer the balances of accounts that the caller may not read."""
    balances = body.get("balances")
    if balances is None:
        return body
    return {**body, "balances": visible_balances(caller, balances)}


def visible_balances(caller: Caller, balances: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the balances of those accounts that the caller may read."""
    prefixes = caller.prefixes
    if Scope.READ not in caller.scopes:
        return {}
    if prefixes is None:
        return balances
    return {
        account: figures for account, figures in balances.items() if account.startswith(prefixes)
    }
