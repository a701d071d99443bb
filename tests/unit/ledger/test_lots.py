"""Several lots at once: who pays what of a hold, what goes back where, and in which order."""

import pytest

from shieldx.ledger.model import MICROSECONDS, Code, Lot
from shieldx.ledger.operations import (
    BREAKAGE,
    ISSUANCE,
    REVENUE,
    Commit,
    Grant,
    Operation,
    Reserve,
    Reverse,
    Settle,
    Transfer,
    Void,
    VoidGrant,
)
from tests.support.book import Book


@pytest.fixture
def book() -> Book:
    """Account a, without credits."""
    book = Book()
    book.open("a")
    return book


def made(book: Book, operation: Operation) -> str:
    answer = book.ask(operation)
    assert answer.code is Code.CREATED, answer
    return str(answer.body["id"])


def grants(book: Book, *amounts: int, ends: int | None = None) -> list[str]:
    """Grant several lots, burnt in this order; `ends` is seconds from now."""
    expires_at = None if ends is None else book.now + ends * MICROSECONDS
    return [
        made(book, Grant(account="a", amount=amount, priority=order, expires_at=expires_at))
        for order, amount in enumerate(amounts)
    ]


def consume(book: Book, amount: int) -> str:
    return made(book, Transfer(debit="a", credit=REVENUE, amount=amount, kind="consume"))


def lots(book: Book, *names: str) -> list[Lot]:
    known = book.settled()[1]
    return [known[name] for name in names]


def left(book: Book, *names: str) -> list[tuple[int, int]]:
    """Return what remains of each lot, and how much of it is held."""
    return [(lot.remaining, lot.held) for lot in lots(book, *names)]


def burnt(book: Book) -> tuple[tuple[str, int], ...]:
    return tuple(tuple(part) for part in book.history[-1].movements[0].burnt or ())  # type: ignore[misc]


class TestHolds:
    def test_a_hold_is_paid_by_its_lots_in_their_order(self, book: Book) -> None:
        one, two, three = grants(book, 10, 20, 30)
        hold = made(book, Reserve(account="a", amount=45, timeout_seconds=60))
        assert left(book, one, two, three) == [(10, 10), (20, 20), (30, 15)]

        for amount, paid, rest in (
            (5, ((one, 5),), [(5, 5), (20, 20), (30, 15)]),
            (15, ((one, 5), (two, 10)), [(0, 0), (10, 10), (30, 15)]),
            (10, ((two, 10),), [(0, 0), (0, 0), (30, 15)]),
        ):
            book.ask(Commit(hold=hold, amount=amount, final=False))
            assert burnt(book) == paid
            assert left(book, one, two, three) == rest
        assert book.hold(hold).claims == ((three, 15),)

        book.ask(Commit(hold=hold, amount=1))
        assert left(book, one, two, three) == [(0, 0), (0, 0), (29, 0)]
        assert book.hold(hold).claims == ()
        assert [lot.state for lot in lots(book, one, two, three)] == [
            "exhausted",
            "exhausted",
            "active",
        ]

    def test_what_another_hold_has_claimed_is_neither_burnt_nor_claimed_again(
        self, book: Book
    ) -> None:
        one, two = grants(book, 10, 20)
        made(book, Reserve(account="a", amount=8, timeout_seconds=60))

        consume(book, 5)

        assert burnt(book) == ((one, 2), (two, 3))
        second = made(book, Reserve(account="a", amount=15, timeout_seconds=60))
        assert book.hold(second).claims == ((two, 15),)
        assert left(book, one, two) == [(8, 8), (17, 15)]

    def test_credits_without_a_grant_are_held_last_and_claim_nothing(self, book: Book) -> None:
        made(book, Transfer(debit=ISSUANCE, credit="a", amount=50))
        (name,) = grants(book, 10)

        hold = made(book, Reserve(account="a", amount=30, timeout_seconds=60))
        assert book.hold(hold).claims == ((name, 10),)
        book.ask(Commit(hold=hold, amount=25, final=False))

        assert burnt(book) == ((name, 10),)
        assert book.figures("a") == (35, 5, 30)
        assert book.hold(hold).claims == ()

    def test_each_change_of_a_hold_has_a_version(self, book: Book) -> None:
        grants(book, 100)
        hold = made(book, Reserve(account="a", amount=30, timeout_seconds=60))
        assert book.hold(hold).version == 1

        book.ask(Commit(hold=hold, amount=10, final=False))
        assert book.hold(hold).version == 2
        book.ask(Commit(hold=hold, amount=10))
        assert book.hold(hold).version == 3
        voided = made(book, Reserve(account="a", amount=30, timeout_seconds=60))
        book.ask(Void(hold=voided))
        assert book.hold(voided).version == 2

    def test_each_change_of_a_lot_has_a_version(self, book: Book) -> None:
        (name,) = grants(book, 100)
        (fresh,) = lots(book, name)

        consume(book, 10)
        hold = made(book, Reserve(account="a", amount=30, timeout_seconds=60))
        book.ask(Void(hold=hold))
        book.ask(VoidGrant(account="a", grant=name))

        (gone,) = lots(book, name)
        assert (fresh.version, gone.version) == (1, 5)

    def test_open_lots_are_counted_until_nothing_is_left_or_held(self, book: Book) -> None:
        one, two = grants(book, 10, 20)
        assert book.account("a").lots == 2
        hold = made(book, Reserve(account="a", amount=15, timeout_seconds=60))
        book.ask(VoidGrant(account="a", grant=two))
        assert book.account("a").lots == 2

        book.ask(Commit(hold=hold, amount=10, final=False))
        assert book.account("a").lots == 1
        assert left(book, one, two) == [(0, 0), (5, 5)]
        book.ask(Void(hold=hold))
        assert book.account("a").lots == 0
        assert book.figures("a") == (0, 0, 0)

    def test_several_lots_that_are_over_lapse_together(self, book: Book) -> None:
        ending = grants(book, 10, 20, ends=10)
        voided = grants(book, 3, 4)
        hold = made(book, Reserve(account="a", amount=37, timeout_seconds=60))
        for name in voided:
            book.ask(VoidGrant(account="a", grant=name))
        book.sleep(10)
        issued = book.account(ISSUANCE).balance

        book.ask(Void(hold=hold))

        moves = [(each.debit, each.credit, each.amount) for each in book.history[-1].movements]
        assert moves == [("a", BREAKAGE, 30), ("a", ISSUANCE, 7)]
        assert book.account(ISSUANCE).balance == issued + 7
        assert left(book, *ending, *voided) == [(0, 0)] * 4
        assert [lot.state for lot in lots(book, *ending)] == ["expired", "expired"]


class TestReversals:
    def test_several_lots_that_are_over_lapse_together(self, book: Book) -> None:
        ending, voided = grants(book, 10, 20, ends=10), grants(book, 5, 6)
        spent = consume(book, 39)
        for name in voided[1:]:
            book.ask(VoidGrant(account="a", grant=name))
        book.sleep(10)
        issued = book.account(ISSUANCE).balance

        answer = book.ask(Reverse(transfer=spent))

        assert answer.code is Code.CREATED
        moves = [(each.credit, each.amount, each.kind) for each in book.history[-1].movements]
        assert moves == [
            ("a", 39, "reversal"),
            (BREAKAGE, 30, "expiry"),
            (ISSUANCE, 4, "void_grant"),
        ]
        assert answer.body["restored"] == [{"grant": voided[0], "amount": 5}]
        assert book.account(ISSUANCE).balance == issued + 4
        assert answer.body["balances"]["a"]["balance"] == book.figures("a")[0] == 5
        assert left(book, *ending) == [(0, 0), (0, 0)]

    def test_two_voided_lots_get_back_nothing_and_issuance_both(self, book: Book) -> None:
        names = grants(book, 10, 20)
        spent = consume(book, 25)
        book.ask(VoidGrant(account="a", grant=names[1]))
        more = grants(book, 7)
        again = consume(book, 3)
        book.ask(VoidGrant(account="a", grant=more[0]))

        for transfer, lapsed in ((spent, 15), (again, 3)):
            book.ask(Reverse(transfer=transfer))
            assert book.history[-1].movements[-1].credit == ISSUANCE
            assert book.history[-1].movements[-1].amount == lapsed
        assert left(book, *names, *more) == [(10, 0), (0, 0), (0, 0)]

    def test_what_would_go_back_to_several_voided_lots_goes_to_issuance(self, book: Book) -> None:
        names = grants(book, 10, 20)
        hold = made(book, Reserve(account="a", amount=4, timeout_seconds=60))
        spent = consume(book, 16)
        assert burnt(book) == ((names[0], 6), (names[1], 10))
        book.ask(Void(hold=hold))
        for name in names:
            book.ask(VoidGrant(account="a", grant=name))

        book.ask(Reverse(transfer=spent))

        assert book.history[-1].movements[-1].amount == 16
        assert (book.figures("a")[0], book.account(ISSUANCE).balance) == (0, 0)

    @pytest.mark.parametrize("another", [None, 7])
    def test_a_restored_lot_is_due_by_its_end_or_by_what_comes_first(
        self, book: Book, another: int | None
    ) -> None:
        start = book.now
        made(book, Transfer(debit=ISSUANCE, credit="a", amount=50))
        grants(book, 10, ends=10)
        spent = consume(book, 10)
        for seconds in (5, another):
            if seconds is not None:
                made(book, Reserve(account="a", amount=1, timeout_seconds=seconds))
        book.sleep(5)
        book.ask(Settle(account="a"))

        book.ask(Reverse(transfer=spent))

        assert book.account("a").next_due == start + (another or 10) * MICROSECONDS

    def test_a_lot_that_nobody_has_seen_expire_is_not_restored(self, book: Book) -> None:
        """It was used up before its end, so time has had nothing to do with it."""
        (name,) = grants(book, 10, ends=10)
        spent = consume(book, 10)
        book.now += 10 * MICROSECONDS - 1
        early = book.ask(Reverse(transfer=spent, amount=4))
        book.now += 1
        late = book.ask(Reverse(transfer=spent, amount=6))

        assert early.body["restored"] == [{"grant": name, "amount": 4}]
        assert "restored" not in late.body
        assert book.figures("a")[0] == 0
        assert book.account(BREAKAGE).balance == 10

    def test_a_lot_that_has_expired_with_something_left_is_not_restored(self, book: Book) -> None:
        grants(book, 10, ends=10)
        spent = consume(book, 6)
        book.sleep(10)
        book.ask(Settle(account="a"))

        answer = book.ask(Reverse(transfer=spent))

        assert "restored" not in answer.body
        assert (book.figures("a")[0], book.account(BREAKAGE).balance) == (0, 10)

    def test_a_restored_lot_is_open_and_due_again_at_its_own_end(self, book: Book) -> None:
        end = book.now + 10 * MICROSECONDS
        grants(book, 10, ends=10)
        spent = consume(book, 10)
        book.ask(Settle(account="a"))
        assert book.account("a").lots == 0
        book.now = end - 5
        made(book, Grant(account="a", amount=1, expires_at=end + 5))

        book.ask(Reverse(transfer=spent))

        assert (book.account("a").lots, book.account("a").next_due) == (2, end)
        book.now = end
        book.ask(Settle(account="a"))
        assert (book.account("a").lots, book.account("a").next_due) == (1, end + 5)
        assert book.figures("a")[0] == 1

    def test_parts_come_back_from_the_last_burnt_to_the_first(self, book: Book) -> None:
        one, two, three = grants(book, 10, 20, 30)
        made(book, Transfer(debit=ISSUANCE, credit="a", amount=5))
        spent = consume(book, 65)

        for amount, restored in (
            (3, []),
            (2, []),
            (12, [(three, 12)]),
            (30, [(three, 18), (two, 12)]),
            (18, [(two, 8), (one, 10)]),
        ):
            answer = book.ask(Reverse(transfer=spent, amount=amount))
            told = [(part["grant"], part["amount"]) for part in answer.body.get("restored", [])]
            assert told == restored
        assert left(book, one, two, three) == [(10, 0), (20, 0), (30, 0)]
        assert book.figures("a") == (65, 0, 65)

    def test_who_pays_back_burns_lots_of_their_own(self, book: Book) -> None:
        book.open("b", amount=20)
        paid = made(book, Transfer(debit="b", credit="a", amount=20))
        (name,) = grants(book, 15)

        answer = book.ask(Reverse(transfer=paid))

        assert answer.body["burnt"] == [{"grant": name, "amount": 15}]
        assert answer.body["balances"]["a"]["balance"] == 15
        assert left(book, name) == [(0, 0)]
