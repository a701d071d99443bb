"""No sequence of operations breaks the books: the core against a naive oracle."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shieldx.ledger import chain
from shieldx.ledger.model import MICROSECONDS, Answer
from shieldx.ledger.operations import (
    ISSUANCE,
    Commit,
    Grant,
    Operation,
    Reserve,
    Reverse,
    SetAlert,
    Transfer,
    Void,
    VoidGrant,
)
from tests.support.book import SYSTEM, Book
from tests.support.coins import Coins, Stamp

NAMES = ("a", "b", "c")
names = st.sampled_from(NAMES)
amounts = st.integers(1, 30)
moments = st.none() | st.integers(1, 9)


class LedgerMachine(RuleBasedStateMachine):
    """Asks the core and the oracle the same things."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.book.open(*NAMES)
        self.coins = Coins()
        self.coins.open(*NAMES, *SYSTEM)
        self.said: dict[str, tuple[Operation, Answer]] = {}

    def ask(self, operation: Operation) -> Answer:
        key = f"key-{len(self.said)}"
        answer = self.book.ask(operation, key)
        self.said[key] = operation, answer
        return answer

    def free(self, name: str) -> int:
        self.coins.let_time_pass(self.book.now)
        return self.coins.free(name)

    def expect(self, answer: Answer, allowed: bool) -> bool:  # noqa: FBT001 - the oracle's verdict.
        assert (answer.code == "created") == allowed, answer
        return allowed

    @rule(name=names, amount=amounts)
    def refill(self, name: str, amount: int) -> None:
        self.coins.let_time_pass(self.book.now)
        answer = self.ask(Transfer(debit=ISSUANCE, credit=name, amount=amount))
        self.expect(answer, allowed=True)
        self.coins.pay(answer.body["id"], ISSUANCE, name, amount)

    @rule(name=names, amount=amounts, priority=st.integers(0, 2), begins=moments, ends=moments)
    def grant(
        self, name: str, amount: int, priority: int, begins: int | None, ends: int | None
    ) -> None:
        self.coins.let_time_pass(self.book.now)
        now = self.book.now
        start = now if begins is None else now + (begins - 3) * MICROSECONDS
        end = None if ends is None else start + ends * MICROSECONDS
        effective = None if begins is None else start
        answer = self.ask(
            Grant(
                account=name,
                amount=amount,
                priority=priority,
                effective_at=effective,
                expires_at=end,
            )
        )
        if self.expect(answer, end is None or end > now):
            expiry = float("inf") if end is None else end
            order = (priority, expiry, len(self.coins.stamps))
            stamp = Stamp(name, amount, order, start, expiry)
            self.coins.grant(answer.body["id"], stamp, now)

    @rule(data=st.data())
    def void_grant(self, data: st.DataObject) -> None:
        self.coins.let_time_pass(self.book.now)
        if not self.coins.stamps:
            return
        grant = data.draw(st.sampled_from(sorted(self.coins.stamps)))
        stamp = self.coins.stamps[grant]
        allowed = not stamp.over and self.coins.left(grant) > 0
        if self.expect(self.ask(VoidGrant(account=stamp.account, grant=grant)), allowed):
            self.coins.end(grant, voided=True)

    @rule(pair=st.permutations(NAMES), amount=amounts)
    def transfer(self, pair: list[str], amount: int) -> None:
        debit, credit, _ = pair
        allowed = self.free(debit) >= amount
        answer = self.ask(Transfer(debit=debit, credit=credit, amount=amount))
        if self.expect(answer, allowed):
            self.coins.pay(answer.body["id"], debit, credit, amount)

    @rule(pair=st.permutations(NAMES), amount=amounts, seconds=st.integers(1, 9))
    def reserve(self, pair: list[str], amount: int, seconds: int) -> None:
        account, to, _ = pair
        allowed = self.free(account) >= amount
        answer = self.ask(Reserve(account=account, amount=amount, timeout_seconds=seconds, to=to))
        if self.expect(answer, allowed):
            deadline = self.book.now + seconds * MICROSECONDS
            self.coins.reserve(answer.body["id"], account, to, amount, deadline)

    @rule(data=st.data(), amount=st.none() | amounts, final=st.booleans())
    def commit(self, data: st.DataObject, amount: int | None, final: bool) -> None:  # noqa: FBT001 - drawn.
        self.coins.let_time_pass(self.book.now)
        if not self.coins.drawers:
            return
        hold = data.draw(st.sampled_from(sorted(self.coins.drawers)))
        left = len(self.coins.drawers[hold].coins)
        paid = left if amount is None else amount
        answer = self.ask(Commit(hold=hold, amount=amount, final=final))
        if self.expect(answer, paid <= left):
            self.coins.commit(hold, answer.body["transfer"], paid, final=final)

    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        self.coins.let_time_pass(self.book.now)
        if self.coins.drawers:
            hold = data.draw(st.sampled_from(sorted(self.coins.drawers)))
            self.expect(self.ask(Void(hold=hold)), allowed=True)
            self.coins.put_back(hold)

    @rule(data=st.data(), amount=st.none() | amounts)
    def reverse(self, data: st.DataObject, amount: int | None) -> None:
        self.coins.let_time_pass(self.book.now)
        if not self.coins.slips:
            return
        transfer = data.draw(st.sampled_from(sorted(self.coins.slips)))
        slip = self.coins.slips[transfer]
        left = len(slip.coins) - slip.given_back
        back = left if amount is None else amount
        payer = slip.credit
        allowed = 0 < back <= left and (payer in SYSTEM or self.free(payer) >= back)
        answer = self.ask(Reverse(transfer=transfer, amount=amount))
        if self.expect(answer, allowed):
            self.coins.reverse(transfer, answer.body["id"], back)

    @rule(name=names, below=st.integers(0, 80))
    def set_alert(self, name: str, below: int) -> None:
        self.expect(self.ask(SetAlert(account=name, available_below=below)), allowed=True)

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
    def every_box_has_what_the_oracle_says(self) -> None:
        self.coins.let_time_pass(self.book.now)
        accounts, lots = self.book.settled()
        assert sum(account.balance for account in accounts.values()) == 0
        for name in NAMES:
            account = accounts[name]
            assert account.held == self.coins.held(name)
            assert account.available == self.coins.free(name)
            assert account.alerted == (
                account.alert is not None and account.available < account.alert
            )
            assert account.lots == sum(lot.is_open for lot in lots.values() if lot.account == name)
        assert accounts[ISSUANCE].balance == -self.coins.owed
        for grant, stamp in self.coins.stamps.items():
            lot = lots[grant]
            assert lot.remaining == self.coins.left(grant), grant
            if not stamp.over:
                assert lot.state in {"pending", "active", "exhausted"}
            elif lot.state != "exhausted":  # A lot that was used up has nothing to lose.
                assert lot.state == ("voided" if stamp.voided else "expired")

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


LedgerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestLedger = LedgerMachine.TestCase
