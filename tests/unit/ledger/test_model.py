"""The rules of the ledger, one sentence each."""

import pytest

from shieldx.ledger.model import Answer, Code, Request
from shieldx.ledger.operations import (
    ISSUANCE,
    MAX_AMOUNT,
    REVENUE,
    ChangeAccount,
    Commit,
    OpenAccount,
    Operation,
    Reserve,
    Reverse,
    Settle,
    Transfer,
    Void,
)
from tests.support.book import Book


@pytest.fixture
def book() -> Book:
    """Two accounts, one with 1000 credits."""
    book = Book()
    book.open("a", amount=1000)
    book.open("b")
    return book


def reserve(book: Book, amount: int = 600, seconds: int = 60) -> str:
    answer = book.ask(Reserve(account="a", amount=amount, timeout_seconds=seconds, to="b"))
    assert answer.code is Code.CREATED
    return str(answer.body["id"])


def codes(answers: list[Answer]) -> list[str]:
    return [str(answer.code) for answer in answers]


class TestTransfers:
    def test_exactly_what_is_available_can_be_moved(self, book: Book) -> None:
        answer = book.ask(Transfer(debit="a", credit="b", amount=1000))

        assert answer.code is Code.CREATED
        assert answer.body["balances"]["a"]["available"] == 0
        assert (book.figures("a"), book.figures("b")) == ((0, 0, 0), (1000, 0, 1000))

    def test_one_unit_more_is_refused_with_the_facts(self, book: Book) -> None:
        answer = book.ask(Transfer(debit="a", credit="b", amount=1001))

        assert answer.code is Code.INSUFFICIENT_CREDITS
        assert (answer.body["available"], answer.body["required"]) == (1000, 1001)
        assert book.figures("a") == (1000, 0, 1000)

    def test_a_floor_below_zero_can_be_reached_and_not_passed(self, book: Book) -> None:
        book.open("credit-line", floor=-50)

        assert book.ask(Transfer(debit="credit-line", credit="b", amount=50)).code == "created"
        assert book.ask(Transfer(debit="credit-line", credit="b", amount=1)).body["available"] == 0

    @pytest.mark.parametrize(("debit", "credit"), [("a", "nobody"), ("nobody", "a")])
    def test_an_unknown_account_is_named(self, book: Book, debit: str, credit: str) -> None:
        answer = book.ask(Transfer(debit=debit, credit=credit, amount=1))

        assert (answer.code, answer.body["account"]) == (Code.ACCOUNT_NOT_FOUND, "nobody")

    def test_a_balance_that_no_number_can_hold_is_refused(self, book: Book) -> None:
        # Issuance has paid 1000 so far, so one more of MAX_AMOUNT would pass its lower end.
        answer = book.ask(Transfer(debit=ISSUANCE, credit="b", amount=MAX_AMOUNT))

        assert answer.code is Code.BALANCE_OVERFLOW
        assert book.figures("b") == (0, 0, 0)

    def test_a_reference_is_used_once(self, book: Book) -> None:
        book.ask(Transfer(debit="a", credit="b", amount=1, reference="order-7"))
        second = book.ask(Transfer(debit="a", credit="b", amount=1, reference="order-7"))

        assert second.code is Code.REFERENCE_ALREADY_USED
        assert second.body["reference"] == "order-7"

    def test_the_sequence_of_transfers_has_no_gap(self, book: Book) -> None:
        book.ask(Transfer(debit="a", credit="b", amount=5000))
        answers = [book.ask(Transfer(debit="a", credit="b", amount=1)) for _ in range(3)]

        assert [answer.body["seq"] for answer in answers] == [2, 3, 4]


class TestIdempotency:
    def test_a_key_replays_its_answer(self, book: Book) -> None:
        first = book.ask(Transfer(debit="a", credit="b", amount=30), "k")
        second = book.ask(Transfer(debit="a", credit="b", amount=30), "k")

        assert second == Answer(first.code, first.body, replayed=True)
        assert book.figures("a")[0] == 970

    @pytest.mark.parametrize(
        ("other", "field"),
        [
            (Transfer(debit="a", credit="b", amount=31), "amount"),
            (Transfer(debit="b", credit="a", amount=30), "debit"),
            (Transfer(debit="a", credit="b", amount=30, metadata={"x": 1}), "metadata"),
            (OpenAccount(id="c"), "type"),
        ],
    )
    def test_a_key_with_another_request_is_told_apart(
        self, book: Book, other: Operation, field: str
    ) -> None:
        book.ask(Transfer(debit="a", credit="b", amount=30), "k")

        answer = book.ask(other, "k")

        assert (answer.code, answer.body["field"]) == (Code.IDEMPOTENCY_KEY_REUSED, field)
        assert book.figures("a")[0] == 970

    def test_a_refusal_stays_the_answer_of_its_key(self, book: Book) -> None:
        late = Transfer(debit="later", credit="b", amount=1)
        book.ask(late, "k")
        book.open("later", amount=10)

        assert book.ask(late, "k").code is Code.ACCOUNT_NOT_FOUND
        assert book.ask(late, "another").code is Code.CREATED

    def test_the_same_key_of_another_caller_is_another_key(self, book: Book) -> None:
        operation = Transfer(debit="a", credit="b", amount=1)

        assert not book.ask(operation, "k", caller="x").replayed
        assert not book.ask(operation, "k", caller="y").replayed

    def test_a_key_twice_in_one_request_is_done_once(self, book: Book) -> None:
        operation = Transfer(debit="a", credit="b", amount=1)

        answers = book.request(Request("me", (operation, operation), ("k", "k")))

        assert [answer.replayed for answer in answers] == [False, True]
        assert book.figures("b")[0] == 1

    def test_idempotency_is_judged_before_the_rules(self, book: Book) -> None:
        book.ask(Transfer(debit="a", credit="b", amount=1000), "k")

        assert book.ask(Transfer(debit="a", credit="b", amount=1000), "k").code == "created"


class TestHolds:
    def test_what_is_held_cannot_be_spent(self, book: Book) -> None:
        reserve(book, 600)

        assert book.figures("a") == (1000, 600, 400)
        assert book.ask(Transfer(debit="a", credit="b", amount=401)).code == "insufficient_credits"
        assert book.ask(Transfer(debit="a", credit="b", amount=400)).code == "created"

    def test_no_more_can_be_held_than_is_available(self, book: Book) -> None:
        reserve(book, 600)

        again = book.ask(Reserve(account="a", amount=401, timeout_seconds=1, to="b"))
        assert again.code is Code.INSUFFICIENT_CREDITS

    def test_a_commit_pays_and_releases_the_rest(self, book: Book) -> None:
        hold = reserve(book, 600)

        answer = book.ask(Commit(hold=hold, amount=500))

        assert (answer.body["state"], answer.body["committed_amount"]) == ("committed", 500)
        assert (book.figures("a"), book.figures("b")) == ((500, 0, 500), (500, 0, 500))

    def test_a_commit_that_is_not_final_keeps_what_is_left(self, book: Book) -> None:
        hold = reserve(book, 600)

        book.ask(Commit(hold=hold, amount=200, final=False))

        assert book.figures("a") == (800, 400, 400)
        assert book.ask(Commit(hold=hold, amount=401)).code is Code.EXCEEDS_HOLD_AMOUNT
        assert book.ask(Commit(hold=hold)).body["committed_amount"] == 600

    def test_a_void_gives_back(self, book: Book) -> None:
        hold = reserve(book, 600)

        assert book.ask(Void(hold=hold)).body["state"] == "voided"
        assert book.figures("a") == (1000, 0, 1000)

    def test_what_is_finished_stays_finished(self, book: Book) -> None:
        committed, voided, expired = reserve(book, 1), reserve(book, 1), reserve(book, 1, seconds=1)
        book.ask(Commit(hold=committed))
        book.ask(Void(hold=voided))
        book.sleep(1)

        for finished, code in [
            (committed, Code.HOLD_ALREADY_COMMITTED),
            (voided, Code.HOLD_ALREADY_VOIDED),
            (expired, Code.HOLD_EXPIRED),
            ("hold_s0_999", Code.HOLD_NOT_FOUND),
        ]:
            assert book.ask(Commit(hold=finished)).code is code
            assert book.ask(Void(hold=finished)).code is code

    def test_time_decides_to_the_microsecond(self, book: Book) -> None:
        early, late = reserve(book, 10, seconds=10), reserve(book, 10, seconds=10)

        book.now += 10_000_000 - 1
        assert book.ask(Commit(hold=early)).code is Code.CREATED
        book.now += 1
        assert book.ask(Commit(hold=late)).code is Code.HOLD_EXPIRED

    def test_whatever_touches_an_account_settles_it_first(self, book: Book) -> None:
        hold = reserve(book, 1000, seconds=5)
        book.sleep(5)

        assert book.ask(Transfer(debit="a", credit="b", amount=1000)).code is Code.CREATED
        assert book.hold(hold).state == "expired"
        assert book.figures("a") == (0, 0, 0)

    def test_settling_forgets_no_later_hold(self, book: Book) -> None:
        reserve(book, 100, seconds=5)
        later = reserve(book, 100, seconds=9)
        book.sleep(5)
        book.ask(Transfer(debit="a", credit="b", amount=1))
        book.sleep(4)

        book.ask(Transfer(debit="a", credit="b", amount=1))

        assert book.hold(later).state == "expired"
        assert book.figures("a") == (998, 0, 998)

    def test_expiring_early_does_nothing_and_late_nothing_twice(self, book: Book) -> None:
        hold = reserve(book, 100, seconds=5)

        book.ask(Settle(account="a"))
        assert book.hold(hold).state == "held"
        book.sleep(5)
        book.ask(Settle(account="a"))
        assert book.hold(hold).state == "expired"
        entries = book.state.head.position
        book.ask(Settle(account="a"))
        assert book.state.head.position == entries


class TestStates:
    def test_a_frozen_account_pays_nothing_and_is_paid(self, book: Book) -> None:
        hold = reserve(book, 10)
        book.ask(ChangeAccount(id="a", state="frozen"))

        for operation in (
            Transfer(debit="a", credit="b", amount=1),
            Reserve(account="a", amount=1, timeout_seconds=1),
            Commit(hold=hold),
        ):
            assert book.ask(operation).code is Code.ACCOUNT_FROZEN
        assert book.ask(Transfer(debit=ISSUANCE, credit="a", amount=1)).code is Code.CREATED
        assert book.ask(Void(hold=hold)).code is Code.CREATED
        book.ask(ChangeAccount(id="a", state="open"))
        assert book.ask(Transfer(debit="a", credit="b", amount=1)).code is Code.CREATED

    def test_only_an_empty_account_can_be_closed(self, book: Book) -> None:
        refused = book.ask(ChangeAccount(id="a", state="closed"))
        closed = book.ask(ChangeAccount(id="b", state="closed"))

        assert (refused.code, refused.body["balance"]) == (Code.ACCOUNT_NOT_EMPTY, 1000)
        assert closed.body["state"] == "closed"
        assert book.ask(Transfer(debit="a", credit="b", amount=1)).code is Code.ACCOUNT_CLOSED

    def test_an_account_is_opened_once(self, book: Book) -> None:
        assert book.ask(OpenAccount(id="a")).code is Code.ACCOUNT_EXISTS

    def test_metadata_is_replaced_and_the_state_left(self, book: Book) -> None:
        answer = book.ask(ChangeAccount(id="a", metadata={"plan": "gold"}))

        assert (answer.body["metadata"], answer.body["state"]) == ({"plan": "gold"}, "open")


class TestReversal:
    def test_a_transfer_is_reversed_once_in_full(self, book: Book) -> None:
        transfer = book.ask(Transfer(debit="a", credit="b", amount=40)).body["id"]

        first = book.ask(Reverse(transfer=transfer))

        assert (first.body["reverses"], first.body["debit"]) == (transfer, "b")
        assert book.ask(Reverse(transfer=transfer)).code is Code.TRANSFER_ALREADY_REVERSED
        assert (book.figures("a")[0], book.figures("b")[0]) == (1000, 0)

    def test_parts_add_up_to_no_more_than_the_whole(self, book: Book) -> None:
        transfer = book.ask(Transfer(debit="a", credit="b", amount=40)).body["id"]

        assert book.ask(Reverse(transfer=transfer, amount=30)).code is Code.CREATED
        refused = book.ask(Reverse(transfer=transfer, amount=11))
        assert (refused.code, refused.body["reversible"]) == (Code.EXCEEDS_REVERSIBLE_AMOUNT, 10)
        assert book.ask(Reverse(transfer=transfer)).body["amount"] == 10

    def test_what_has_been_spent_cannot_be_taken_back(self, book: Book) -> None:
        transfer = book.ask(Transfer(debit="a", credit="b", amount=40)).body["id"]
        book.ask(Transfer(debit="b", credit=REVENUE, amount=1))

        assert book.ask(Reverse(transfer=transfer)).code is Code.INSUFFICIENT_CREDITS

    def test_an_unknown_transfer_is_named(self, book: Book) -> None:
        answer = book.ask(Reverse(transfer="tx_s0_99"))
        assert (answer.code, answer.body["transfer"]) == (Code.TRANSFER_NOT_FOUND, "tx_s0_99")


class TestAtomicBatches:
    def test_all_is_done(self, book: Book) -> None:
        steps = (
            Transfer(debit="a", credit="b", amount=60),
            Transfer(debit="b", credit="a", amount=10),
        )

        assert codes(book.together(steps, "k")) == ["created", "created"]
        assert book.figures("a")[0] == 950

    def test_or_nothing_and_only_the_culprit_has_a_code_of_its_own(self, book: Book) -> None:
        steps = [Transfer(debit="a", credit="b", amount=amount) for amount in (600, 600, 1)]

        assert codes(book.together(steps, "k")) == [
            "batch_aborted",
            "insufficient_credits",
            "batch_aborted",
        ]
        assert book.figures("a") == (1000, 0, 1000)

    def test_it_replays_as_a_whole(self, book: Book) -> None:
        steps = [Transfer(debit="a", credit="b", amount=1)] * 2
        first = book.together(steps, "k")

        again = book.together(steps, "k")

        assert [(a.code, a.body) for a in again] == [(a.code, a.body) for a in first]
        assert all(answer.replayed for answer in again)
        assert codes(book.together(steps[:1], "k")) == ["idempotency_key_reused"]

    def test_a_transfer_can_be_reversed_in_the_batch_that_made_it(self, book: Book) -> None:
        seq = book.state.head.seq + 1
        steps = (Transfer(debit="a", credit="b", amount=7), Reverse(transfer=f"tx_s0_{seq}"))

        assert codes(book.together(steps, "k")) == ["created", "created"]
        assert book.figures("a")[0] == 1000
