"""What a caller may do: every door to an account, walked by callers with and without the right."""

import pytest

from shieldx.ledger import operations as ops
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.rights import judge, parties_wanted, visible
from shieldx.sidecar.scopes import Scope

SHOP = ("shop/",)


def caller(*scopes: Scope, prefixes: tuple[str, ...] | None = None) -> Caller:
    return Caller("me", frozenset(scopes), prefixes)


WRITER = caller(Scope.WRITE)
SHOPKEEPER = caller(Scope.WRITE, prefixes=SHOP)
ISSUER = caller(Scope.ISSUE, prefixes=SHOP)
SHOPMINT = caller(Scope.WRITE, Scope.ISSUE, prefixes=SHOP)
MINT = caller(Scope.WRITE, Scope.ISSUE)
ADMIN = caller(Scope.WRITE, Scope.ADMIN)
READER = caller(Scope.READ)
LANDLORD = caller(*Scope)


def transfer(debit: str, credit: str, kind: str = "transfer") -> ops.Transfer:
    return ops.Transfer(debit=debit, credit=credit, amount=1, kind=kind)


def hold(account: str, to: str = ops.REVENUE) -> ops.Reserve:
    return ops.Reserve(account=account, amount=1, timeout_seconds=1, to=to)


CONSUME = transfer("shop/a", ops.REVENUE, "consume")
REFILL = transfer(ops.ISSUANCE, "shop/a", "refill")
FREEZE = ops.ChangeAccount(id="shop/a", state="frozen")
RENAME = ops.ChangeAccount(id="shop/a", metadata={})
OPEN = ops.OpenAccount(id="shop/a")
GRANT = ops.Grant(account="shop/a", amount=1)
VOID_GRANT = ops.VoidGrant(account="shop/a", grant="g")
OVERDRAFT = ops.OpenAccount(id="shop/a", floor=-5)


@pytest.mark.parametrize(
    ("who", "operation", "code"),
    [
        (SHOPKEEPER, transfer("shop/a", "shop/b"), None),
        (SHOPKEEPER, transfer("shop/a", "bank/b"), "account_not_found"),
        (SHOPKEEPER, transfer("bank/a", "shop/b"), "account_not_found"),
        (SHOPKEEPER, transfer("shop/a", ops.REVENUE), "account_not_found"),
        (SHOPKEEPER, CONSUME, None),
        (SHOPKEEPER, transfer("shop/a", "bank/b", "consume"), "account_not_found"),
        (SHOPKEEPER, transfer("bank/a", ops.REVENUE, "consume"), "account_not_found"),
        (SHOPKEEPER, REFILL, "missing_scope"),
        (ISSUER, REFILL, None),
        (ISSUER, CONSUME, "missing_scope"),
        (ISSUER, transfer(ops.ISSUANCE, "bank/a", "refill"), "account_not_found"),
        (ISSUER, transfer("bank/a", "shop/a", "refill"), "missing_scope"),
        (ISSUER, transfer("shop/b", "shop/a", "refill"), "missing_scope"),
        (SHOPMINT, transfer("bank/a", "shop/a", "refill"), "account_not_found"),
        (SHOPMINT, transfer("shop/b", "shop/a", "refill"), None),
        (caller(Scope.ISSUE), transfer(ops.REVENUE, "shop/a", "refill"), None),
        (WRITER, GRANT, "missing_scope"),
        (WRITER, VOID_GRANT, "missing_scope"),
        (ISSUER, GRANT, None),
        (ISSUER, VOID_GRANT, None),
        (ISSUER, ops.Grant(account="bank/a", amount=1), "account_not_found"),
        (ISSUER, ops.VoidGrant(account="bank/a", grant="g"), "account_not_found"),
        (READER, ops.SetAlert(account="shop/a"), "missing_scope"),
        (SHOPKEEPER, ops.SetAlert(account="bank/a"), "account_not_found"),
        (READER, ops.Note(kind="run", digest="00"), "missing_scope"),
        (WRITER, transfer(ops.REVENUE, "shop/a"), "missing_scope"),
        (WRITER, transfer(ops.REVENUE, "shop/a", "consume"), "missing_scope"),
        (WRITER, transfer("shop/a", ops.REVENUE), None),
        (MINT, transfer(ops.REVENUE, "shop/a"), None),
        (SHOPMINT, transfer(ops.REVENUE, "shop/a", "consume"), "account_not_found"),
        (SHOPMINT, transfer("shop/a", ops.ISSUANCE, "refill"), "account_not_found"),
        (SHOPMINT, transfer(ops.REVENUE, "shop/a", "refill"), "account_not_found"),
        (SHOPMINT, hold(ops.REVENUE, "shop/a"), "account_not_found"),
        (SHOPKEEPER, hold("shop/a"), None),
        (SHOPKEEPER, hold("shop/a", "bank/b"), "account_not_found"),
        (SHOPKEEPER, hold("bank/a"), "account_not_found"),
        (WRITER, hold(ops.REVENUE, "shop/a"), "missing_scope"),
        (MINT, hold(ops.REVENUE, "shop/a"), None),
        (SHOPKEEPER, OPEN, None),
        (SHOPKEEPER, ops.OpenAccount(id="bank/a"), "account_not_found"),
        (WRITER, OVERDRAFT, "missing_scope"),
        (ADMIN, OVERDRAFT, None),
        (WRITER, FREEZE, "missing_scope"),
        (ADMIN, FREEZE, None),
        (WRITER, RENAME, None),
        (SHOPKEEPER, ops.ChangeAccount(id="bank/a", metadata={}), "account_not_found"),
        (READER, CONSUME, "missing_scope"),
        (READER, OPEN, "missing_scope"),
        (READER, ops.Void(hold="h"), "missing_scope"),
        (LANDLORD, transfer(ops.REVENUE, "anything"), None),
        (LANDLORD, FREEZE, None),
    ],
)
def test_an_operation_is_judged_by_its_accounts(
    who: Caller, operation: ops.Operation, code: str | None
) -> None:
    refusal = judge(who, operation)

    assert (refusal.code if refusal else None) == code


COMMIT, VOID, REVERSE = ops.Commit(hold="h"), ops.Void(hold="h"), ops.Reverse(transfer="t")


@pytest.mark.parametrize(
    ("who", "operation", "parties", "code"),
    [
        (SHOPKEEPER, COMMIT, ("shop/a", ops.REVENUE), None),
        (SHOPKEEPER, COMMIT, ("shop/a", "bank/b"), "hold_not_found"),
        (SHOPKEEPER, COMMIT, ("bank/a", "shop/b"), "hold_not_found"),
        (SHOPKEEPER, COMMIT, (), "hold_not_found"),
        (SHOPKEEPER, VOID, (), "hold_not_found"),
        (WRITER, REVERSE, (), "transfer_not_found"),
        (MINT, COMMIT, (), None),
        (SHOPKEEPER, VOID, ("shop/a", ops.REVENUE), None),
        (SHOPKEEPER, VOID, ("bank/a", ops.REVENUE), "hold_not_found"),
        (WRITER, COMMIT, (ops.REVENUE, "shop/a"), "missing_scope"),
        (WRITER, VOID, (ops.REVENUE, "shop/a"), "missing_scope"),
        (SHOPMINT, COMMIT, (ops.REVENUE, "shop/a"), "hold_not_found"),
        (SHOPMINT, COMMIT, ("shop/a", ops.ISSUANCE), "hold_not_found"),
        (SHOPMINT, REVERSE, ("shop/a", ops.REVENUE), None),
        (SHOPMINT, REVERSE, (ops.REVENUE, "shop/a"), "transfer_not_found"),
        (MINT, COMMIT, (ops.REVENUE, "shop/a"), None),
        (SHOPKEEPER, REVERSE, ("shop/a", "shop/b"), None),
        (SHOPKEEPER, REVERSE, ("shop/a", "bank/b"), "transfer_not_found"),
        (SHOPKEEPER, REVERSE, ("shop/a", ops.REVENUE), "missing_scope"),
        (SHOPKEEPER, REVERSE, (ops.ISSUANCE, "shop/a"), None),
        (WRITER, REVERSE, ("shop/a", ops.REVENUE), "missing_scope"),
        (MINT, REVERSE, ("shop/a", ops.REVENUE), None),
    ],
)
def test_a_hold_or_transfer_is_judged_by_its_parties(
    who: Caller, operation: ops.Operation, parties: tuple[str, ...], code: str | None
) -> None:
    refusal = judge(who, operation, parties)

    assert (refusal.code if refusal else None) == code


def test_parties_are_looked_up_only_for_whom_they_matter() -> None:
    assert parties_wanted(SHOPKEEPER, COMMIT) == "h"
    assert parties_wanted(SHOPKEEPER, VOID) == "h"
    assert parties_wanted(WRITER, REVERSE) == "t"
    assert parties_wanted(MINT, REVERSE) is None
    assert parties_wanted(SHOPKEEPER, CONSUME) is None


def test_what_is_hidden_looks_like_what_is_not_there() -> None:
    one, other = (judge(SHOPKEEPER, transfer("shop/a", f"bank/{n}")) for n in (1, 2))

    assert one is not None
    assert other is not None
    assert one.message.replace("bank/1", "") == other.message.replace("bank/2", "")


def test_balances_show_only_what_the_caller_may_read() -> None:
    body = {"id": "t", "balances": {"shop/a": {"balance": 1}, "bank/b": {"balance": 2}}}

    shopkeeper = caller(Scope.READ, Scope.WRITE, prefixes=SHOP)
    assert visible(shopkeeper, body)["balances"] == {"shop/a": {"balance": 1}}
    assert visible(READER, body)["balances"] == body["balances"]
    assert visible(WRITER, body)["balances"] == {}
    assert visible(SHOPKEEPER, body)["balances"] == {}
    assert visible(SHOPKEEPER, {"id": "h"}) == {"id": "h"}
    assert len(body["balances"]) == 2
