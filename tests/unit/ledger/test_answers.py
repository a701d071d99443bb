"""What is answered, whole: callers store it, keys replay it, and the chain has it for ever."""

from typing import Any

import msgspec
import pytest

from shieldx.ledger.model import MICROSECONDS, Code, Request
from shieldx.ledger.operations import (
    ISSUANCE,
    MAX_AMOUNT,
    REVENUE,
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
from tests.support.book import Book

NOW = 1_700_000_000 * MICROSECONDS
MINUTE = 60 * MICROSECONDS


@pytest.fixture
def book() -> Book:
    """Accounts a, with 1000 credits from the first transfer, and b."""
    book = Book()
    book.open("a", amount=1000)
    book.open("b")
    return book


def figures(balance: int, held: int = 0, *, version: int) -> dict[str, int]:
    return {
        "balance": balance,
        "held": held,
        "available": balance - held,
        "version": version,
    }


def done(book: Book, operation: Operation) -> dict[str, Any]:
    answer = book.ask(operation)
    assert answer.code is Code.CREATED, answer
    return dict(answer.body)


def refused(book: Book, operation: Operation) -> tuple[Code, dict[str, Any]]:
    """Return code and facts; that there is a message for people is asserted here."""
    answer = book.ask(operation)
    facts = dict(answer.body)
    assert facts.pop("message")
    return answer.code, facts


class TestDone:
    def test_a_transfer(self, book: Book) -> None:
        order = {"order": 7}
        consume = Transfer(
            debit="a", credit="b", amount=30, kind="consume", metadata=order, reference="order-7"
        )

        assert done(book, consume) == {
            "id": "tx_s0_2",
            "seq": 2,
            "debit": "a",
            "credit": "b",
            "amount": 30,
            "kind": "consume",
            "at": NOW,
            "metadata": order,
            "balances": {"a": figures(970, version=3), "b": figures(30, version=2)},
            "reference": "order-7",
        }

    def test_a_reversal(self, book: Book) -> None:
        transfer = done(book, Transfer(debit="a", credit="b", amount=40))["id"]

        assert done(book, Reverse(transfer=transfer, amount=10)) == {
            "id": "tx_s0_3",
            "seq": 3,
            "debit": "b",
            "credit": "a",
            "amount": 10,
            "kind": "reversal",
            "at": NOW,
            "metadata": {},
            "balances": {"a": figures(970, version=4), "b": figures(30, version=3)},
            "reverses": transfer,
        }

    def test_a_hold_from_beginning_to_end(self, book: Book) -> None:
        position = book.state.head.position
        asked = Reserve(account="a", amount=100, timeout_seconds=60, to="b", metadata={"job": 1})
        hold: dict[str, Any] = {
            "id": f"hold_s0_{position + 1}",
            "account": "a",
            "to": "b",
            "amount": 100,
            "expires_at": NOW + MINUTE,
            "metadata": {"job": 1},
        }

        assert done(book, asked) == hold | {
            "remaining": 100,
            "state": "held",
            "committed_amount": 0,
            "balances": {"a": figures(1000, 100, version=3)},
        }
        assert done(book, Commit(hold=hold["id"], amount=30, final=False)) == hold | {
            "remaining": 70,
            "state": "held",
            "committed_amount": 30,
            "balances": {"a": figures(970, 70, version=4), "b": figures(30, version=2)},
            "transfer": "tx_s0_2",
        }
        assert done(book, Commit(hold=hold["id"], amount=50)) == hold | {
            "remaining": 0,
            "state": "committed",
            "committed_amount": 80,
            "balances": {"a": figures(920, version=5), "b": figures(80, version=3)},
            "transfer": "tx_s0_3",
        }
        paid = book.history[-1].movements[0]
        assert (paid.kind, paid.metadata) == ("commit", {"job": 1})

    def test_a_void_pays_nothing_and_says_so(self, book: Book) -> None:
        hold = done(book, Reserve(account="a", amount=100, timeout_seconds=60, to="b"))

        assert done(book, Void(hold=hold["id"])) == hold | {
            "remaining": 0,
            "state": "voided",
            "balances": {"a": figures(1000, version=4)},
        }

    def test_a_hold_without_a_payee_pays_revenue(self, book: Book) -> None:
        assert done(book, Reserve(account="a", amount=1, timeout_seconds=1))["to"] == REVENUE

    def test_a_grant_that_counts_at_once(self, book: Book) -> None:
        position = book.state.head.position
        asked = Grant(
            account="a", amount=50, priority=3, expires_at=NOW + MINUTE, metadata={"plan": "gold"}
        )

        assert done(book, asked) == {
            "id": f"grant_s0_{position + 1}",
            "account": "a",
            "amount": 50,
            "remaining": 50,
            "held": 0,
            "priority": 3,
            "effective_at": NOW,
            "expires_at": NOW + MINUTE,
            "state": "active",
            "metadata": {"plan": "gold"},
            "balances": {"a": figures(1050, version=3)},
            "transfer": "tx_s0_2",
        }
        paid = book.history[-1].movements[0]
        assert (paid.debit, paid.kind, paid.metadata) == (ISSUANCE, "grant", {"plan": "gold"})

    def test_a_grant_that_counts_later_moves_nothing_yet(self, book: Book) -> None:
        answer = done(book, Grant(account="a", amount=50, effective_at=NOW + 1))

        assert (answer["state"], answer["effective_at"]) == ("pending", NOW + 1)
        assert answer["balances"] == {"a": figures(1000, version=3)}
        assert "transfer" not in answer

    def test_a_voided_grant(self, book: Book) -> None:
        lot = done(book, Grant(account="a", amount=50))
        done(book, Reserve(account="a", amount=20, timeout_seconds=60))

        assert done(book, VoidGrant(account="a", grant=lot["id"])) == lot | {
            "remaining": 20,
            "held": 20,
            "state": "voided",
            "balances": {"a": figures(1020, 20, version=5)},
            "transfer": "tx_s0_3",
        }
        taken = book.history[-1].movements[0]
        assert (taken.credit, taken.amount, taken.kind) == (ISSUANCE, 30, "void_grant")

    def test_a_voided_grant_that_is_all_held_moves_nothing(self, book: Book) -> None:
        book.open("c")
        lot = done(book, Grant(account="c", amount=50))
        done(book, Reserve(account="c", amount=50, timeout_seconds=60))

        answer = done(book, VoidGrant(account="c", grant=lot["id"]))

        assert (answer["remaining"], answer["held"]) == (50, 50)
        assert answer["balances"] == {"c": figures(50, 50, version=4)}
        assert "transfer" not in answer

    def test_an_account(self, book: Book) -> None:
        opened = done(book, OpenAccount(id="c", floor=-5, metadata={"k": "v"}))
        frozen = done(book, ChangeAccount(id="c", state="frozen"))
        reworded = done(book, ChangeAccount(id="c", metadata={}))

        assert opened == {
            "id": "c",
            "state": "open",
            "floor": -5,
            "available_below": None,
            "metadata": {"k": "v"},
            **figures(0, version=1),
        }
        assert frozen == opened | {"state": "frozen", "version": 2}
        assert reworded == frozen | {"metadata": {}, "version": 3}

    def test_an_alert(self, book: Book) -> None:
        assert done(book, SetAlert(account="a", available_below=5)) == {
            "account": "a",
            "available_below": 5,
            "balances": {"a": figures(1000, version=3)},
        }

    def test_a_note(self, book: Book) -> None:
        position = book.state.head.position + 1

        assert done(book, Note(kind="run", digest="ab" * 32)) == {
            "id": f"note_s0_{position}",
            "kind": "run",
            "digest": "ab" * 32,
            "position": position,
            "at": NOW,
        }

    def test_settling_says_nothing(self, book: Book) -> None:
        assert done(book, Settle(account="a")) == {}


class TestRefused:
    @pytest.mark.parametrize(
        "operation",
        [
            Transfer(debit="a", credit="b", amount=1001),
            Reserve(account="a", amount=1001, timeout_seconds=1),
        ],
    )
    def test_for_want_of_credits(self, book: Book, operation: Operation) -> None:
        facts = {"account": "a", "available": 1000, "required": 1001}

        assert refused(book, operation) == (Code.INSUFFICIENT_CREDITS, facts)

    def test_since_a_reversal_would_cost_more_than_there_is(self, book: Book) -> None:
        transfer = done(book, Transfer(debit="a", credit="b", amount=40))["id"]
        done(book, Transfer(debit="b", credit="a", amount=39))
        facts = {"account": "b", "available": 1, "required": 40}

        assert refused(book, Reverse(transfer=transfer)) == (Code.INSUFFICIENT_CREDITS, facts)

    def test_since_the_account_is_there_or_is_not(self, book: Book) -> None:
        assert refused(book, OpenAccount(id="a")) == (Code.ACCOUNT_EXISTS, {"account": "a"})
        for operation in (
            ChangeAccount(id="c", state="frozen"),
            SetAlert(account="c"),
            Grant(account="c", amount=1),
            VoidGrant(account="c", grant="grant_s0_1"),
            Reserve(account="c", amount=1, timeout_seconds=1),
            Reserve(account="a", amount=1, timeout_seconds=1, to="c"),
        ):
            assert refused(book, operation) == (Code.ACCOUNT_NOT_FOUND, {"account": "c"})

    @pytest.mark.parametrize("state", ["frozen", "closed"])
    def test_since_who_pays_is_not_open(self, book: Book, state: str) -> None:
        transfer = done(book, Transfer(debit="a", credit="b", amount=1))["id"]
        done(book, Transfer(debit="b", credit="a", amount=1))
        done(book, ChangeAccount(id="b", state=state))

        for operation in (
            Transfer(debit="b", credit="a", amount=1),
            Reserve(account="b", amount=1, timeout_seconds=1),
            Reverse(transfer=transfer),
        ):
            assert refused(book, operation) == (Code(f"account_{state}"), {"account": "b"})

    def test_since_who_is_paid_is_closed(self, book: Book) -> None:
        done(book, Transfer(debit="a", credit="b", amount=1))
        transfer = done(book, Transfer(debit="b", credit="a", amount=1))["id"]
        hold = done(book, Reserve(account="a", amount=1, timeout_seconds=1, to="b"))["id"]
        done(book, ChangeAccount(id="b", state="closed"))

        for operation in (
            Transfer(debit="a", credit="b", amount=1),
            Reserve(account="a", amount=1, timeout_seconds=1, to="b"),
            Commit(hold=hold),
            Reverse(transfer=transfer),
            Grant(account="b", amount=1),
        ):
            assert refused(book, operation) == (Code.ACCOUNT_CLOSED, {"account": "b"})

    def test_since_the_account_to_be_closed_is_not_empty(self, book: Book) -> None:
        done(book, Grant(account="a", amount=5, effective_at=NOW + 1))
        done(book, Reserve(account="a", amount=20, timeout_seconds=60))
        facts = {"account": "a", "balance": 1000, "held": 20, "grants": 1}

        close = ChangeAccount(id="a", state="closed")
        assert refused(book, close) == (Code.ACCOUNT_NOT_EMPTY, facts)

    def test_since_the_reference_is_another_transfers(self, book: Book) -> None:
        order = Transfer(debit="a", credit="b", amount=1, reference="order-7")
        done(book, order)

        assert refused(book, order) == (Code.REFERENCE_ALREADY_USED, {"reference": "order-7"})

    def test_since_the_hold_is_not_there_or_too_small(self, book: Book) -> None:
        hold = done(book, Reserve(account="a", amount=100, timeout_seconds=60))["id"]
        too_small = {"remaining": 100, "required": 101}

        assert refused(book, Commit(hold="hold_s0_99")) == (
            Code.HOLD_NOT_FOUND,
            {"hold": "hold_s0_99"},
        )
        assert refused(book, Commit(hold=hold, amount=101)) == (Code.EXCEEDS_HOLD_AMOUNT, too_small)

    @pytest.mark.parametrize(
        ("end", "state", "code"),
        [
            (Commit, "committed", Code.HOLD_ALREADY_COMMITTED),
            (Void, "voided", Code.HOLD_ALREADY_VOIDED),
            (None, "expired", Code.HOLD_EXPIRED),
        ],
    )
    def test_since_the_hold_is_finished(self, book: Book, end: Any, state: str, code: Code) -> None:
        hold = done(book, Reserve(account="a", amount=100, timeout_seconds=60))["id"]
        if end is None:
            book.sleep(60)
        else:
            done(book, end(hold=hold))

        assert refused(book, Void(hold=hold)) == (code, {"hold": hold, "state": state})

    def test_since_there_is_nothing_or_less_to_reverse(self, book: Book) -> None:
        transfer = done(book, Transfer(debit="a", credit="b", amount=40))["id"]
        more = Reverse(transfer=transfer, amount=31)
        done(book, Reverse(transfer=transfer, amount=10))
        less = {"reversible": 30, "required": 31}

        assert refused(book, more) == (Code.EXCEEDS_REVERSIBLE_AMOUNT, less)
        done(book, Reverse(transfer=transfer))
        assert refused(book, more) == (Code.TRANSFER_ALREADY_REVERSED, {"transfer": transfer})
        assert refused(book, Reverse(transfer="tx_s0_99")) == (
            Code.TRANSFER_NOT_FOUND,
            {"transfer": "tx_s0_99"},
        )

    def test_since_the_grant_is_not_there_or_over(self, book: Book) -> None:
        late = Grant(account="a", amount=1, expires_at=NOW)
        lot = done(book, Grant(account="a", amount=1))["id"]
        elsewhere, gone = ({"account": "b", "grant": lot}, {"account": "a", "grant": "grant_s0_99"})

        assert refused(book, late) == (Code.GRANT_EXPIRED, {"expires_at": NOW})
        assert refused(book, VoidGrant(account="b", grant=lot)) == (Code.GRANT_NOT_FOUND, elsewhere)
        assert refused(book, VoidGrant(account="a", grant="grant_s0_99")) == (
            Code.GRANT_NOT_FOUND,
            gone,
        )
        done(book, VoidGrant(account="a", grant=lot))
        assert refused(book, VoidGrant(account="a", grant=lot)) == (
            Code.GRANT_ALREADY_VOIDED,
            {"grant": lot, "state": "voided"},
        )

    def test_since_no_number_could_hold_it(self, book: Book) -> None:
        """An account may reach either end of what a balance can be, and pass neither."""
        book.open("rich")
        book.open("indebted", floor=None)
        most = Transfer(debit="indebted", credit="rich", amount=MAX_AMOUNT)
        done(book, most)

        for operation, account in (
            (Transfer(debit="a", credit="rich", amount=1), "rich"),
            (Transfer(debit="indebted", credit="a", amount=1), "indebted"),
            (Grant(account="rich", amount=1), "rich"),
        ):
            assert refused(book, operation) == (Code.BALANCE_OVERFLOW, {"account": account})
        book.open("holding", floor=None)
        done(book, Reserve(account="holding", amount=MAX_AMOUNT, timeout_seconds=60))
        assert refused(book, Reserve(account="holding", amount=1, timeout_seconds=60)) == (
            Code.BALANCE_OVERFLOW,
            {"account": "holding"},
        )
        assert book.figures("rich")[0] == MAX_AMOUNT


class TestReplayed:
    def test_another_request_under_a_key_is_told_which_field_differs(self, book: Book) -> None:
        book.ask(Transfer(debit="a", credit="b", amount=30), "k")

        answer = book.ask(Transfer(debit="a", credit="b", amount=31), "k")

        assert not answer.replayed
        assert answer.receipt is None
        assert set(answer.body) == {"message", "field"}
        assert "another amount" in answer.body["message"]

    def test_a_receipt_comes_with_every_entry_and_again_with_its_replay(self, book: Book) -> None:
        book.state.seal = lambda digest: f"sealed {digest.hex()}"
        operation = Transfer(debit="a", credit="b", amount=1)
        steps = [operation, operation]

        first, again = book.ask(operation, "k"), book.ask(operation, "k")
        together, replayed = book.together(steps, "batch"), book.together(steps, "batch")

        entries = [entry for changes in book.history for entry in changes.entries]
        sealed = [entry.receipt for entry in entries if entry.receipt]
        assert first.receipt == again.receipt == sealed[0]
        assert [each.receipt for each in together] == sealed[1:3]
        assert [each.receipt for each in replayed] == sealed[1:3]

    def test_of_an_aborted_batch_no_step_has_a_receipt(self, book: Book) -> None:
        book.state.seal = bytes.hex
        steps = [Transfer(debit="a", credit="b", amount=amount) for amount in (1, 5000)]

        aborted, culprit = book.together(steps, "batch")
        replayed = book.together(steps, "batch")

        assert aborted.receipt is culprit.receipt is None
        assert "operation 1 was refused: insufficient_credits" in aborted.body["message"]
        assert [(each.code, each.body) for each in replayed] == [
            (each.code, each.body) for each in (aborted, culprit)
        ]
        (entry,) = book.history[-2].entries
        assert entry.code is Code.INSUFFICIENT_CREDITS
        assert entry.receipt is not None

    def test_a_batch_with_another_step_is_another_batch(self, book: Book) -> None:
        one, two = ([Transfer(debit="a", credit="b", amount=n)] * 2 for n in (1, 2))
        book.together(one, "batch")

        answers = book.together(two, "batch")

        assert [answer.code for answer in answers] == [Code.IDEMPOTENCY_KEY_REUSED] * 2
        assert answers[0].body["field"] == "operations"
        assert book.figures("b")[0] == 2

    def test_a_batch_is_an_entry_with_the_answers_of_its_steps(self, book: Book) -> None:
        steps = [Transfer(debit="a", credit="b", amount=n) for n in (1, 2)]
        answers = book.together(steps, "batch")

        *each, whole = book.history[-1].entries

        assert [(entry.caller, entry.key) for entry in each] == [("me", None)] * 2
        assert (whole.caller, whole.key, whole.code) == ("me", "batch", "created")
        asked = msgspec.json.decode(whole.operation)
        assert asked["type"] == "batch"
        assert [step["amount"] for step in asked["operations"]] == [1, 2]
        assert msgspec.json.decode(whole.answer) == {
            "results": [{"code": "created", "body": answer.body} for answer in answers]
        }

    def test_a_batch_without_a_key_is_done_each_time(self, book: Book) -> None:
        steps = [Transfer(debit="a", credit="b", amount=1)] * 2
        for _ in range(2):
            book.request(Request("me", steps, (None,), atomic=True))

        assert book.figures("b")[0] == 4
