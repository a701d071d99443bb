"""A whole shard in memory: the pure core with a state that knows everything."""

from collections.abc import Sequence
from typing import Any

from shieldx.ledger.model import (
    MICROSECONDS,
    Account,
    Answer,
    Changes,
    Hold,
    Lot,
    Request,
    State,
    decide,
    merge,
)
from shieldx.ledger.operations import OpenAccount, Operation, Settle, Transfer

SYSTEM = ("system/issuance", "system/revenue", "system/breakage")


class _Everything[V](dict[str, V | None]):
    """What is not in it does not exist."""

    def __missing__(self, key: str) -> None:
        return None


class Book:
    """Decides one request at a time, and remembers everything; `now` is in microseconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * MICROSECONDS
        accounts = _Everything[Account]()
        for name in SYSTEM:
            accounts[name] = Account(name, 0, 0, None, "open", 1, {})
        self.state = State(
            "s0",
            accounts=accounts,
            lots=_Everything(),
            holds=_Everything(),
            posted=_Everything(),
            references=_Everything(),
        )
        self.history: list[Changes] = []
        self._keys = 0

    def ask(self, operation: Operation, key: str | None = None, caller: str = "me") -> Answer:
        """Decide one operation under its key, or under a fresh one."""
        self._keys += 1
        return self.request(Request(caller, (operation,), (key or f"fresh-{self._keys}",)))[0]

    def together(self, operations: Sequence[Operation], key: str) -> list[Answer]:
        """Decide an atomic batch."""
        return self.request(Request("me", operations, (key,), atomic=True))

    def request(self, request: Request) -> list[Answer]:
        answers, changes = self.decided(request)
        self.accept(changes)
        return answers

    def decided(self, request: Request) -> tuple[list[Answer], Changes]:
        """Return what a request would be answered and change, changing nothing."""
        self._look_for_due()
        (answers,), changes = decide(self.state, [request], self.now)
        return answers, changes

    def accept(self, changes: Changes) -> None:
        """Let the book know what was decided."""
        merge(self.state, changes)
        self.history.append(changes)

    def settled(self) -> tuple[dict[str, Account], dict[str, Lot]]:
        """Return all accounts and lots as they are once time has been heard, changing nothing."""
        self._look_for_due()
        names = [name for name, account in self.state.accounts.items() if account is not None]
        settle = Request("me", [Settle(account=name) for name in names], [None] * len(names))
        _, changes = decide(self.state, [settle], self.now)
        accounts = {name: changes.accounts.get(name) or self.account(name) for name in names}
        lots = {name: lot for name, lot in self.state.lots.items() if lot is not None}
        return accounts, lots | changes.lots

    def _look_for_due(self) -> None:
        self.state.due = {}
        for hold in self.state.holds.values():
            if hold is not None and hold.state == "held":
                self.state.due.setdefault(hold.account, []).append(hold)

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * MICROSECONDS)

    def open(self, *names: str, amount: int = 0, floor: int | None = 0) -> None:
        for name in names:
            assert self.ask(OpenAccount(id=name, floor=floor)).code == "created"
            if amount:
                refill = Transfer(debit=SYSTEM[0], credit=name, amount=amount, kind="refill")
                assert self.ask(refill).code == "created"

    def figures(self, name: str) -> tuple[int, int, int]:
        """Return balance, held and available."""
        account = self.account(name)
        return account.balance, account.held, account.available

    def account(self, name: str) -> Account:
        account = self.state.accounts[name]
        assert account is not None
        return account

    def hold(self, name: Any) -> Hold:
        hold = self.state.holds[name]
        assert hold is not None
        return hold
