"""No sequence of operations breaks the books: the core against a naive oracle."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shieldx.ledger import chain
from shieldx.ledger.model import Answer
from shieldx.ledger.operations import (
    ISSUANCE,
    Commit,
    Operation,
    Reserve,
    Reverse,
    Transfer,
    Void,
)
from tests.support.book import SYSTEM, Book

NAMES = ("a", "b", "c")
names = st.sampled_from(NAMES)
amounts = st.integers(1, 60)


class LedgerMachine(RuleBasedStateMachine):
    """Keeps money the way a child would: coins in boxes, and boxes in boxes for holds."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.book.open(*NAMES)
        self.coins: defaultdict[str, int] = defaultdict(int)
        self.holds: dict[str, tuple[str, str, int, int]] = {}  # id: account, to, left, deadline
        self.moved: dict[str, tuple[str, str, int]] = {}  # id: from, to, not yet reversed
        self.said: dict[str, tuple[Operation, Answer]] = {}

    def ask(self, operation: Operation) -> Answer:
        key = f"key-{len(self.said)}"
        answer = self.book.ask(operation, key)
        self.said[key] = operation, answer
        return answer

    def drop_expired(self) -> None:
        self.holds = {k: h for k, h in self.holds.items() if h[3] > self.book.now}

    def free(self, name: str) -> int:
        self.drop_expired()
        return self.coins[name] - sum(h[2] for h in self.holds.values() if h[0] == name)

    def expect(self, answer: Answer, allowed: bool) -> bool:  # noqa: FBT001 - the oracle's verdict.
        assert (answer.code == "created") == allowed, answer
        return allowed

    def carry(self, transfer: str, debit: str, credit: str, amount: int) -> None:
        self.coins[debit] -= amount
        self.coins[credit] += amount
        self.moved[transfer] = debit, credit, amount

    @rule(name=names, amount=amounts)
    def refill(self, name: str, amount: int) -> None:
        answer = self.ask(Transfer(debit=ISSUANCE, credit=name, amount=amount))
        self.expect(answer, allowed=True)
        self.carry(answer.body["id"], ISSUANCE, name, amount)

    @rule(pair=st.permutations(NAMES), amount=amounts)
    def transfer(self, pair: list[str], amount: int) -> None:
        debit, credit, _ = pair
        allowed = self.free(debit) >= amount
        answer = self.ask(Transfer(debit=debit, credit=credit, amount=amount))
        if self.expect(answer, allowed):
            self.carry(answer.body["id"], debit, credit, amount)

    @rule(pair=st.permutations(NAMES), amount=amounts, seconds=st.integers(1, 9))
    def reserve(self, pair: list[str], amount: int, seconds: int) -> None:
        account, to, _ = pair
        allowed = self.free(account) >= amount
        answer = self.ask(Reserve(account=account, amount=amount, timeout_seconds=seconds, to=to))
        if self.expect(answer, allowed):
            deadline = self.book.now + seconds * 1_000_000
            self.holds[answer.body["id"]] = account, to, amount, deadline

    @rule(data=st.data(), amount=st.none() | amounts, final=st.booleans())
    def commit(self, data: st.DataObject, amount: int | None, final: bool) -> None:  # noqa: FBT001 - drawn.
        self.drop_expired()
        if not self.holds:
            return
        hold = data.draw(st.sampled_from(sorted(self.holds)))
        account, to, left, deadline = self.holds[hold]
        paid = left if amount is None else amount
        answer = self.ask(Commit(hold=hold, amount=amount, final=final))
        if self.expect(answer, paid <= left):
            self.carry(answer.body["transfer"], account, to, paid)
            self.holds[hold] = account, to, left - paid, deadline
            if final or left == paid:
                del self.holds[hold]

    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        self.drop_expired()
        if self.holds:
            hold = data.draw(st.sampled_from(sorted(self.holds)))
            self.expect(self.ask(Void(hold=hold)), allowed=True)
            del self.holds[hold]

    @rule(data=st.data(), amount=st.none() | amounts)
    def reverse(self, data: st.DataObject, amount: int | None) -> None:
        if not self.moved:
            return
        transfer = data.draw(st.sampled_from(sorted(self.moved)))
        debit, credit, left = self.moved[transfer]
        back = left if amount is None else amount
        allowed = 0 < back <= left and (credit in SYSTEM or self.free(credit) >= back)
        answer = self.ask(Reverse(transfer=transfer, amount=amount))
        if self.expect(answer, allowed):
            self.carry(answer.body["id"], credit, debit, back)
            self.moved[transfer] = debit, credit, left - back

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.book.sleep(seconds)

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        if self.said:
            key = data.draw(st.sampled_from(sorted(self.said)))
            operation, first = self.said[key]
            again = self.book.ask(operation, key)
            assert (again.code, again.body, again.replayed) == (first.code, first.body, True)

    @invariant()
    def the_books_balance(self) -> None:
        accounts = [a for a in self.book.state.accounts.values() if a is not None]
        assert sum(account.balance for account in accounts) == 0
        for account in accounts:
            held = sum(
                hold.remaining
                for hold in self.book.state.holds.values()
                if hold is not None and hold.account == account.id and hold.state == "held"
            )
            assert account.held == held
            assert account.floor is None or account.available >= account.floor
            assert account.balance == self.coins[account.id]

    @invariant()
    def the_chain_holds(self) -> None:
        head = chain.GENESIS
        position = 0
        for changes in self.book.history:
            for entry in changes.entries:
                position += 1
                assert entry.position == position
                head = chain.link(
                    head,
                    position,
                    changes.head.at,
                    entry.caller,
                    entry.key,
                    entry.operation,
                    entry.code,
                    entry.answer,
                )
                assert entry.hash == head


LedgerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase
