"""Every operation by every kind of caller: what rights let pass does nothing they do not give.

The effects are those of the core itself, so a door that the rights forget is found by what goes
through it. Each step keeps the promises, hence every sequence of steps does.
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations, permutations

import pytest

from shieldx.ledger import operations as ops
from shieldx.ledger.model import Request, decide
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.rights import judge, parties_wanted
from shieldx.sidecar.scopes import Scope
from tests.support.book import SYSTEM, Book

OWN = ("shop/a", "shop/b", "bank/a", "bank/debtor")
ACCOUNTS = (*OWN, *SYSTEM)
PREFIXES = (None, ("shop/",), ("bank/", "shop/a"), ("system/",), ())
KINDS = ("transfer", "consume", "refill", "grant", "reversal")
CALLERS = [
    Caller("me", frozenset(scopes), prefixes)
    for count in range(len(Scope) + 1)
    for scopes in combinations(Scope, count)
    for prefixes in PREFIXES
]

type Effect = dict[str, int]


class Bank:
    """The books, with a hold and a transfer between any two accounts, and a grant on each."""

    def __init__(self) -> None:
        self.book = Book()
        self.book.open("shop/a", "shop/b", "bank/a", amount=1000)
        self.book.open("bank/debtor", floor=-1000)
        pairs = list(permutations(ACCOUNTS, 2))
        self.transfers = [self._make(_transfer(debit, credit)) for debit, credit in pairs]
        self.holds = [
            self._make(ops.Reserve(account=account, to=to, amount=1, timeout_seconds=60))
            for account, to in pairs
        ]
        # Last, since what was granted is burnt first.
        self.grants = [(name, self._make(ops.Grant(account=name, amount=10))) for name in OWN]

    def parties(self, identity: str | None) -> tuple[str, ...]:
        """Return the accounts of a hold or transfer, as the API looks them up."""
        if identity is None:
            return ()
        hold = self.book.state.holds[identity]
        if hold is not None:
            return hold.account, hold.to
        posted = self.book.state.posted[identity]
        return () if posted is None else (posted.debit, posted.credit)

    def effect(self, operation: ops.Operation) -> Effect:
        """Return by how much which balances would change; it is not done."""
        request = Request("me", (operation,), ("key",))
        answers, changes = decide(self.book.state, [request], self.book.now)
        assert answers[0][0].code == "created", (operation, answers)
        after = {name: account.balance for name, account in changes.accounts.items()}
        return {name: after[name] - self.book.account(name).balance for name in after}

    def _make(self, operation: ops.Operation) -> str:
        answer = self.book.ask(operation)
        assert answer.code == "created", (operation, answer)
        return str(answer.body["id"])


def _transfer(debit: str, credit: str, kind: str = "transfer") -> ops.Transfer:
    return ops.Transfer(debit=debit, credit=credit, amount=2, kind=kind)


def operations(bank: Bank) -> Iterator[ops.Operation]:
    """Yield one operation through every door between any two accounts."""
    for debit, credit in permutations(ACCOUNTS, 2):
        yield from (_transfer(debit, credit, kind) for kind in KINDS)
        yield ops.Reserve(account=debit, to=credit, amount=1, timeout_seconds=60)
    for name, grant in bank.grants:
        yield ops.Grant(account=name, amount=5)
        yield ops.VoidGrant(account=name, grant=grant)
    yield from (ops.Reverse(transfer=transfer) for transfer in bank.transfers)
    for hold in bank.holds:
        yield ops.Commit(hold=hold)
        yield ops.Void(hold=hold)


@cache
def passed() -> list[tuple[Caller, ops.Operation, Effect]]:
    """Return whatever the rights let pass, and what it does."""
    bank = Bank()
    return [
        (caller, operation, effect)
        for operation in operations(bank)
        for effect in (bank.effect(operation),)
        for caller in CALLERS
        if judge(caller, operation, bank.parties(parties_wanted(caller, operation))) is None
    ]


def test_nobody_makes_credits_without_issue() -> None:
    for caller, operation, effect in passed():
        made = sum(by for name, by in effect.items() if name in OWN)
        assert made <= 0 or caller.may(Scope.ISSUE), (caller, operation)


def test_nobody_debits_the_ledgers_own_accounts_without_issue() -> None:
    for caller, operation, effect in passed():
        debited = [name for name, by in effect.items() if name in SYSTEM and by < 0]
        assert not debited or caller.may(Scope.ISSUE), (caller, operation)


def test_nobody_takes_credits_of_customers_without_write_but_by_voiding_a_grant() -> None:
    for caller, operation, effect in passed():
        taken = [name for name, by in effect.items() if name in OWN and by < 0]
        allowed = caller.may(Scope.WRITE) or isinstance(operation, ops.VoidGrant)
        assert not taken or allowed, (caller, operation)


def test_nobody_touches_what_lies_outside_its_prefixes() -> None:
    for caller, operation, effect in passed():
        foreign = [name for name in effect if name in OWN and not caller.sees(name)]
        assert not foreign, (caller, operation)


@pytest.mark.parametrize("scope", [Scope.READ, Scope.ADMIN])
def test_scopes_that_move_nothing_let_nothing_pass(scope: Scope) -> None:
    idle = {Scope.READ, Scope.ADMIN}
    assert not [caller for caller, _, _ in passed() if scope in caller.scopes <= idle]


def test_whoever_may_everything_is_held_up_nowhere() -> None:
    bank = Bank()
    everything = Caller("me", frozenset({Scope.WRITE, Scope.ISSUE}))

    assert not [one for one in operations(bank) if judge(everything, one) is not None]
