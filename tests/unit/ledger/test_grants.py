"""Grants: what is burnt first, what expires when, and who keeps a claim. One sentence each."""

import pytest

from shieldx.ledger.model import MICROSECONDS, Answer, Code, Lot
from shieldx.ledger.operations import (
    BREAKAGE,
    ISSUANCE,
    REVENUE,
    ChangeAccount,
    Commit,
    Grant,
    Note,
    Reserve,
    Reverse,
    Settle,
    Transfer,
    Void,
    VoidGrant,
)
from tests.support.book import Book

DAY = 86_400


@pytest.fixture
def book() -> Book:
    """An account without credits."""
    book = Book()
    book.open("a")
    return book


def grant(
    book: Book,
    amount: int = 100,
    *,
    priority: int = 0,
    begins: int | None = None,
    ends: int | None = None,
) -> str:
    """Grant; `begins` and `ends` are seconds from now."""
    answer = book.ask(
        Grant(
            account="a",
            amount=amount,
            priority=priority,
            effective_at=None if begins is None else book.now + begins * MICROSECONDS,
            expires_at=None if ends is None else book.now + ends * MICROSECONDS,
        )
    )
    assert answer.code is Code.CREATED
    return str(answer.body["id"])


def consume(book: Book, amount: int) -> Answer:
    return book.ask(Transfer(debit="a", credit=REVENUE, amount=amount, kind="consume"))


def reserve(book: Book, amount: int, seconds: int = 10 * DAY) -> str:
    answer = book.ask(Reserve(account="a", amount=amount, timeout_seconds=seconds))
    assert answer.code is Code.CREATED
    return str(answer.body["id"])


def lot(book: Book, name: str) -> Lot:
    return book.settled()[1][name]


def left(book: Book, *names: str) -> list[int]:
    return [lot(book, name).remaining for name in names]


def balance(book: Book, name: str) -> int:
    return book.settled()[0][name].balance


class TestBurning:
    def test_the_lower_priority_is_burnt_first(self, book: Book) -> None:
        second, first = grant(book, priority=2), grant(book, priority=1)

        consume(book, 120)

        assert left(book, first, second) == [0, 80]
        assert lot(book, first).state == "exhausted"

    def test_of_equal_priority_the_one_that_expires_sooner_is_burnt_first(self, book: Book) -> None:
        never, later, sooner = grant(book), grant(book, ends=2 * DAY), grant(book, ends=DAY)

        consume(book, 120)

        assert left(book, sooner, later, never) == [0, 80, 100]

    def test_of_equal_expiry_the_older_one_is_burnt_first(self, book: Book) -> None:
        older, newer = grant(book), grant(book)

        consume(book, 120)

        assert left(book, older, newer) == [0, 80]

    def test_the_ninth_entry_is_older_than_the_tenth_though_its_name_sorts_later(
        self, book: Book
    ) -> None:
        while book.state.head.position < 8:
            book.ask(Note(kind="run", digest="00"))
        ninth, tenth = grant(book), grant(book)

        consume(book, 120)

        assert (ninth, tenth) == ("grant_s0_9", "grant_s0_10")
        assert left(book, ninth, tenth) == [0, 80]

    def test_priority_counts_for_more_than_expiry(self, book: Book) -> None:
        soon, first = grant(book, priority=1, ends=DAY), grant(book, priority=0)

        consume(book, 100)

        assert left(book, soon, first) == [100, 0]

    def test_only_the_soonest_of_very_many_lots_is_touched(self, book: Book) -> None:
        many = [grant(book, ends=2 * DAY) for _ in range(1000)]
        soonest = grant(book, ends=DAY)

        consume(book, 99)

        assert left(book, soonest) == [1]
        assert set(left(book, *many)) == {100}

    def test_the_trace_adds_up_to_what_was_spent(self, book: Book) -> None:
        lots = [grant(book, 10, priority=p) for p in (5, 1, 3, 2, 4)]
        in_order = [lots[1], lots[3], lots[2], lots[4], lots[0]]

        answer = consume(book, 35)

        assert [(part["grant"], part["amount"]) for part in answer.body["burnt"]] == list(
            zip(in_order[:4], [10, 10, 10, 5], strict=True)
        )
        assert left(book, *in_order) == [0, 0, 0, 5, 10]

    def test_credits_without_a_grant_are_burnt_last(self, book: Book) -> None:
        book.ask(Transfer(debit=ISSUANCE, credit="a", amount=50, kind="refill"))
        name = grant(book, 30)

        first, second = consume(book, 40), consume(book, 40)

        assert first.body["burnt"] == [{"grant": name, "amount": 30}]
        assert "burnt" not in second.body
        assert balance(book, "a") == 0

    def test_more_than_there_is_is_refused_and_leaves_no_trace(self, book: Book) -> None:
        name = grant(book, 30)

        answer = consume(book, 31)

        assert (answer.code, answer.body["available"]) == (Code.INSUFFICIENT_CREDITS, 30)
        assert left(book, name) == [30]


class TestTime:
    def test_a_future_grant_counts_nothing_until_its_moment(self, book: Book) -> None:
        name = grant(book, begins=10)

        assert (balance(book, "a"), lot(book, name).state) == (0, "pending")
        assert consume(book, 1).code is Code.INSUFFICIENT_CREDITS
        book.sleep(10)
        assert (balance(book, "a"), lot(book, name).state) == (100, "active")
        assert consume(book, 100).code is Code.CREATED

    def test_expiry_is_exclusive_and_needs_no_keeper(self, book: Book) -> None:
        name = grant(book, ends=10)
        book.sleep(10)

        assert consume(book, 1).code is Code.INSUFFICIENT_CREDITS
        assert (lot(book, name).state, left(book, name)) == ("expired", [0])
        assert balance(book, BREAKAGE) == 100

    def test_a_grant_that_came_and_went_unseen_leaves_both_movements(self, book: Book) -> None:
        grant(book, begins=5, ends=10)
        book.sleep(20)

        book.ask(Settle(account="a"))

        kinds = [movement.kind for movement in book.history[-1].movements]
        assert kinds == ["grant", "expiry"]
        assert (balance(book, ISSUANCE), balance(book, BREAKAGE)) == (-100, 100)

    def test_a_grant_that_would_have_expired_already_is_refused(self, book: Book) -> None:
        answer = book.ask(Grant(account="a", amount=1, expires_at=book.now))

        assert answer.code is Code.GRANT_EXPIRED

    def test_what_is_due_is_done_on_a_frozen_account(self, book: Book) -> None:
        grant(book, ends=10)
        book.ask(ChangeAccount(id="a", state="frozen"))
        book.sleep(10)

        book.ask(Settle(account="a"))

        assert book.account("a").balance == 0


class TestHolds:
    def test_a_hold_keeps_its_claim_on_a_lot_that_expires(self, book: Book) -> None:
        name = grant(book, 100, ends=10)
        hold = reserve(book, 60)
        book.sleep(10)

        assert (lot(book, name).state, left(book, name)) == ("expired", [60])
        answer = book.ask(Commit(hold=hold))
        assert answer.code is Code.CREATED
        assert (balance(book, "a"), balance(book, BREAKAGE), left(book, name)) == (0, 40, [0])

    def test_what_a_void_gives_back_to_an_expired_lot_lapses(self, book: Book) -> None:
        grant(book, 100, ends=10)
        hold = reserve(book, 60)
        book.sleep(10)

        answer = book.ask(Void(hold=hold))

        assert answer.body["balances"]["a"]["available"] == 0
        assert (balance(book, "a"), balance(book, BREAKAGE)) == (0, 100)

    def test_what_a_commit_leaves_over_of_an_expired_lot_lapses(self, book: Book) -> None:
        grant(book, 100, ends=10)
        hold = reserve(book, 60)
        book.sleep(10)

        answer = book.ask(Commit(hold=hold, amount=20))

        assert answer.body["balances"]["a"]["balance"] == 0
        assert (balance(book, REVENUE), balance(book, BREAKAGE)) == (20, 80)

    def test_what_is_left_held_keeps_its_claim(self, book: Book) -> None:
        grant(book, 100, ends=10)
        hold = reserve(book, 60)
        book.ask(Commit(hold=hold, amount=20, final=False))
        book.sleep(10)

        answer = book.ask(Commit(hold=hold))

        assert answer.code is Code.CREATED
        assert (balance(book, REVENUE), balance(book, BREAKAGE)) == (60, 40)

    def test_a_void_gives_back_to_a_living_lot(self, book: Book) -> None:
        name = grant(book, 100, ends=10)
        hold = reserve(book, 60)

        book.ask(Void(hold=hold))

        assert consume(book, 100).body["burnt"] == [{"grant": name, "amount": 100}]

    def test_the_trace_of_a_commit_names_the_lots(self, book: Book) -> None:
        first, second = grant(book, 10, priority=1), grant(book, 10, priority=2)
        hold = reserve(book, 15)

        book.ask(Commit(hold=hold))

        assert book.history[-1].movements[0].burnt == ((first, 10), (second, 5))


class TestVoiding:
    def test_the_rest_goes_back_to_where_it_came_from(self, book: Book) -> None:
        name = grant(book, 100)
        consume(book, 30)

        answer = book.ask(VoidGrant(account="a", grant=name))

        assert (answer.body["state"], answer.body["remaining"]) == ("voided", 0)
        assert (balance(book, "a"), balance(book, ISSUANCE)) == (0, -30)

    def test_its_movement_goes_to_issuance_and_carries_no_metadata(self, book: Book) -> None:
        name = grant(book, 100)
        book.ask(VoidGrant(account="a", grant=name))

        (movement,) = book.history[-1].movements

        assert (movement.debit, movement.credit, movement.amount) == ("a", ISSUANCE, 100)
        assert (movement.kind, movement.metadata) == ("void_grant", {})

    def test_what_is_held_stays_held_and_what_is_released_goes_back_too(self, book: Book) -> None:
        name = grant(book, 100)
        hold = reserve(book, 30)
        book.ask(VoidGrant(account="a", grant=name))
        assert book.figures("a") == (30, 30, 0)

        book.ask(Void(hold=hold))

        assert (balance(book, "a"), balance(book, ISSUANCE)) == (0, 0)

    def test_a_pending_grant_is_voided_without_a_movement(self, book: Book) -> None:
        name = grant(book, 100, begins=10)
        answer = book.ask(VoidGrant(account="a", grant=name))
        book.sleep(10)

        assert "transfer" not in answer.body
        assert balance(book, "a") == 0

    @pytest.mark.parametrize(
        ("spoil", "code"),
        [
            ("void", Code.GRANT_ALREADY_VOIDED),
            ("expire", Code.GRANT_EXPIRED),
            ("spend", Code.GRANT_EXHAUSTED),
        ],
    )
    def test_what_is_over_is_not_voided(self, book: Book, spoil: str, code: Code) -> None:
        name = grant(book, 100, ends=10)
        match spoil:
            case "void":
                book.ask(VoidGrant(account="a", grant=name))
            case "expire":
                book.sleep(10)
            case _:
                consume(book, 100)

        assert book.ask(VoidGrant(account="a", grant=name)).code is code

    def test_another_account_does_not_have_the_grant(self, book: Book) -> None:
        book.open("b")
        name = grant(book)

        assert book.ask(VoidGrant(account="b", grant=name)).code is Code.GRANT_NOT_FOUND


class TestReversal:
    def test_the_lots_that_were_burnt_are_restored(self, book: Book) -> None:
        name = grant(book, 100, ends=DAY)
        spent = consume(book, 100)

        answer = book.ask(Reverse(transfer=spent.body["id"]))

        assert answer.body["restored"] == [{"grant": name, "amount": 100}]
        assert (lot(book, name).state, left(book, name)) == ("active", [100])

    def test_what_was_burnt_last_comes_back_first(self, book: Book) -> None:
        first, second = grant(book, 10, priority=1), grant(book, 10, priority=2)
        book.ask(Transfer(debit=ISSUANCE, credit="a", amount=10, kind="refill"))
        spent = consume(book, 25).body["id"]

        book.ask(Reverse(transfer=spent, amount=8))
        assert left(book, first, second) == [0, 3]
        book.ask(Reverse(transfer=spent, amount=12))
        assert left(book, first, second) == [5, 10]

    def test_what_would_go_back_to_an_expired_lot_lapses(self, book: Book) -> None:
        grant(book, 100, ends=10)
        spent = consume(book, 100)
        book.sleep(10)

        answer = book.ask(Reverse(transfer=spent.body["id"]))

        assert answer.body["balances"]["a"]["balance"] == 0
        assert (balance(book, REVENUE), balance(book, BREAKAGE)) == (0, 100)

    def test_what_would_go_back_to_a_voided_lot_goes_to_issuance(self, book: Book) -> None:
        name = grant(book, 100)
        spent = consume(book, 60)
        book.ask(VoidGrant(account="a", grant=name))

        book.ask(Reverse(transfer=spent.body["id"]))

        assert (balance(book, "a"), balance(book, ISSUANCE)) == (0, 0)

    def test_a_restored_lot_still_expires(self, book: Book) -> None:
        grant(book, 100, ends=10)
        spent = consume(book, 100)
        book.ask(Reverse(transfer=spent.body["id"]))
        book.sleep(10)

        assert balance(book, "a") == 0


def test_an_account_with_a_pending_grant_is_not_empty(book: Book) -> None:
    name = grant(book, begins=10)

    assert book.ask(ChangeAccount(id="a", state="closed")).code is Code.ACCOUNT_NOT_EMPTY
    book.ask(VoidGrant(account="a", grant=name))
    assert book.ask(ChangeAccount(id="a", state="closed")).code is Code.CREATED
    refused = book.ask(Grant(account="a", amount=1))
    assert refused.code is Code.ACCOUNT_CLOSED
