"""Each request of a batch sees what those before it did, though nothing is stored yet."""

from typing import Any

import pytest
from msgspec.structs import replace

from shieldx.ledger.draft import Draft
from shieldx.ledger.model import (
    MICROSECONDS,
    Answer,
    Code,
    Head,
    Request,
    State,
    decide,
    merge,
    touched,
)
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


@pytest.fixture
def book() -> Book:
    """Account a, with 1000 credits, and b."""
    book = Book()
    book.open("a", amount=1000)
    book.open("b")
    return book


def ask(book: Book, *operations: Operation) -> list[Answer]:
    """Decide several operations at once, each under no key."""
    return book.request(Request("me", operations, [None] * len(operations)))


def codes(answers: list[Answer]) -> list[str]:
    return [str(answer.code) for answer in answers]


def next_id(book: Book, kind: str, ahead: int = 1) -> str:
    return f"{kind}_s0_{book.state.head.position + ahead}"


def test_an_account_is_there_once_it_is_opened(book: Book) -> None:
    opened = ask(
        book,
        OpenAccount(id="c"),
        OpenAccount(id="c"),
        Transfer(debit="a", credit="c", amount=5),
        ChangeAccount(id="c", state="frozen"),
        Transfer(debit="c", credit="a", amount=5),
    )

    assert codes(opened) == ["created", "account_exists", "created", "created", "account_frozen"]


def test_a_reference_is_used_once_it_is_claimed(book: Book) -> None:
    order = Transfer(debit="a", credit="b", amount=1, reference="order-7")

    assert codes(ask(book, order, order)) == ["created", "reference_already_used"]
    assert codes(ask(book, order)) == ["reference_already_used"]


def test_a_hold_is_there_once_it_is_made_and_gone_once_it_is_finished(book: Book) -> None:
    hold = next_id(book, "hold")

    answers = ask(
        book,
        Reserve(account="a", amount=100, timeout_seconds=60, to="b"),
        Commit(hold=hold, amount=40, final=False),
        Commit(hold=hold, amount=61),
        Commit(hold=hold),
        Void(hold=hold),
    )

    assert codes(answers) == [
        "created",
        "created",
        "exceeds_hold_amount",
        "created",
        "hold_already_committed",
    ]
    assert book.figures("a") == (900, 0, 900)
    assert book.figures("b") == (100, 0, 100)


def test_a_transfer_is_reversed_only_as_far_as_it_is_not_yet(book: Book) -> None:
    transfer = f"tx_s0_{book.state.head.seq + 1}"

    answers = ask(
        book,
        Transfer(debit="a", credit="b", amount=10),
        Reverse(transfer=transfer, amount=4),
        Reverse(transfer=transfer, amount=7),
        Reverse(transfer=transfer),
        Reverse(transfer=transfer),
    )

    assert codes(answers)[1:] == [
        "created",
        "exceeds_reversible_amount",
        "created",
        "transfer_already_reversed",
    ]
    assert answers[3].body["amount"] == 6


def test_lots_are_burnt_in_order_though_they_were_granted_just_now(book: Book) -> None:
    old = ask(book, Grant(account="b", amount=10, priority=2))[0].body["id"]
    late, soon = next_id(book, "grant"), next_id(book, "grant", 2)

    answers = ask(
        book,
        Grant(account="b", amount=10, priority=3),
        Grant(account="b", amount=10, priority=1),
        Transfer(debit="b", credit=REVENUE, amount=25),
        VoidGrant(account="b", grant=late),
        VoidGrant(account="b", grant=soon),
    )

    assert [(part["grant"], part["amount"]) for part in answers[2].body["burnt"]] == [
        (soon, 10),
        (old, 10),
        (late, 5),
    ]
    assert codes(answers)[3:] == ["created", "grant_exhausted"]
    assert book.figures("b") == (0, 0, 0)


def test_an_accounts_first_lot_is_burnt_in_the_batch_that_grants_it(book: Book) -> None:
    grant = next_id(book, "grant")

    answers = ask(
        book, Grant(account="b", amount=10), Transfer(debit="b", credit=REVENUE, amount=4)
    )

    assert answers[1].body["burnt"] == [{"grant": grant, "amount": 4}]
    assert book.figures("b") == (6, 0, 6)


def test_lots_of_another_account_are_not_burnt(book: Book) -> None:
    ask(book, Grant(account="b", amount=10), Grant(account="a", amount=10))

    answer = ask(book, Transfer(debit="a", credit=REVENUE, amount=15))[0]

    assert [part["amount"] for part in answer.body["burnt"]] == [10]
    assert book.figures("b") == (10, 0, 10)


def test_a_hold_that_was_made_in_a_batch_expires_like_any_other(book: Book) -> None:
    first, second = next_id(book, "hold"), next_id(book, "hold", 2)
    ask(
        book,
        Reserve(account="a", amount=10, timeout_seconds=5),
        Reserve(account="a", amount=20, timeout_seconds=5),
    )
    book.sleep(5)

    answers = ask(book, Void(hold=first), Commit(hold=second), Settle(account="a"))

    assert codes(answers) == ["hold_expired", "hold_expired", "created"]
    assert book.figures("a") == (1000, 0, 1000)
    expired = [entry.operation for entry in book.history[-1].entries if entry.caller == "system"]
    assert len(expired) == 2


def test_a_hold_of_another_account_is_nothing_to_wait_for(book: Book) -> None:
    ask(book, Transfer(debit="a", credit="b", amount=10))
    ask(book, Reserve(account="b", amount=10, timeout_seconds=5))
    book.sleep(5)

    ask(book, Reserve(account="a", amount=10, timeout_seconds=60), Settle(account="b"))

    assert book.account("b").next_due is None
    assert book.account("a").next_due == book.now + 60 * MICROSECONDS


def test_of_an_aborted_batch_nothing_is_left_for_those_after_it(book: Book) -> None:
    key = Request(
        "me",
        [
            OpenAccount(id="c"),
            Transfer(debit="a", credit="c", amount=10, reference="order-7"),
            Grant(account="c", amount=5),
            Reserve(account="a", amount=10, timeout_seconds=60),
            Transfer(debit="a", credit="c", amount=5000),
        ],
        ["batch"],
        atomic=True,
    )
    seq = book.state.head.seq
    answers, changes = decide(
        book.state, [key, Request("me", [OpenAccount(id="c")], [None])], 10**16
    )
    merge(book.state, changes)

    assert codes(answers[0]) == ["batch_aborted"] * 4 + ["insufficient_credits"]
    assert answers[1][0].code is Code.CREATED
    assert book.state.head.seq == seq
    assert (changes.movements, changes.posted, changes.references) == ([], {}, {})
    assert (changes.lots, changes.opened, changes.holds) == ({}, {}, {})
    assert list(changes.accounts) == ["c"]
    assert len(changes.entries) == 2
    assert set(changes.keys) == {("me", "batch")}


def test_a_step_that_fails_does_not_undo_what_was_before_the_batch(book: Book) -> None:
    first = Request("me", [Transfer(debit="a", credit="b", amount=1)], ["k"])
    failing = [Transfer(debit="a", credit="b", amount=n) for n in (2, 5000)]
    batch = Request("me", failing, ["batch"], atomic=True)

    _, changes = decide(book.state, [first, batch], book.now)

    assert [movement.amount for movement in changes.movements] == [1]
    assert changes.accounts["b"].balance == 1
    assert set(changes.keys) == {("me", "k"), ("me", "batch")}


class TestState:
    def test_deciding_changes_nothing_until_it_is_merged(self, book: Book) -> None:
        before, accounts = book.state.head, dict(book.state.accounts)

        _, changes = decide(
            book.state,
            [Request("me", [Transfer(debit="a", credit="b", amount=1)], ["k"])],
            book.now,
        )

        assert (book.state.head, dict(book.state.accounts)) == (before, accounts)
        assert ("me", "k") not in book.state.keys
        merge(book.state, changes)
        assert book.state.head == changes.head
        assert book.state.keys["me", "k"].code == "created"
        assert book.figures("b") == (1, 0, 1)

    def test_the_head_tells_position_sequence_hash_and_time(self, book: Book) -> None:
        before = book.state.head
        request = Request(
            "me", [Transfer(debit="a", credit="b", amount=n) for n in (1, 2)], [None] * 2
        )

        _, changes = decide(book.state, [request], book.now + 7)

        assert isinstance(changes.head, Head)
        assert changes.head.position == before.position + 2
        assert changes.head.seq == before.seq + 2
        assert changes.head.at == book.now + 7
        assert changes.head.hash == changes.entries[-1].hash
        assert [entry.position for entry in changes.entries] == [
            before.position + 1,
            before.position + 2,
        ]
        assert [movement.position for movement in changes.movements] == [
            before.position + 1,
            before.position + 2,
        ]

    def test_of_an_account_the_open_lots_are_known_in_burning_order(self, book: Book) -> None:
        late, soon = (
            str(ask(book, Grant(account="b", amount=10, priority=each))[0].body["id"])
            for each in (2, 1)
        )
        assert book.state.purses["b"] == [soon, late]

        ask(book, Transfer(debit="b", credit=REVENUE, amount=10))
        assert book.state.purses["b"] == [late]
        ask(book, VoidGrant(account="b", grant=late))
        assert book.state.purses["b"] == []

    def test_a_movement_has_both_accounts_as_they_become(self, book: Book) -> None:
        metadata = {"order": 7}
        order = Transfer(
            debit="a", credit="b", amount=3, kind="consume", metadata=metadata, reference="r"
        )
        ask(book, order)
        (paid,) = book.history[-1].movements
        ask(book, Reverse(transfer=f"tx_s0_{paid.seq}"))
        (back,) = book.history[-1].movements

        assert (paid.debit, paid.credit, paid.amount, paid.kind) == ("a", "b", 3, "consume")
        assert (paid.metadata, paid.reference, paid.reverses) == (metadata, "r", None)
        assert (paid.debit_balance, paid.credit_balance) == (997, 3)
        assert (paid.debit, paid.credit) == ("a", "b")
        assert (back.reference, back.reverses, back.kind) == (None, paid.seq, "reversal")
        posted = book.state.posted[f"tx_s0_{paid.seq}"]
        assert posted is not None
        assert (posted.seq, posted.debit, posted.credit) == (paid.seq, "a", "b")
        assert (posted.amount, posted.reversed) == (3, 3)
        assert book.state.references["r"] == f"tx_s0_{paid.seq}"

    def test_a_movement_has_the_lots_that_it_burnt_and_restored(self, book: Book) -> None:
        grant = ask(book, Grant(account="a", amount=10))[0].body["id"]
        transfer = ask(book, Transfer(debit="a", credit="b", amount=7))[0].body["id"]
        (paid,) = book.history[-1].movements

        ask(book, Reverse(transfer=transfer))
        (back,) = book.history[-1].movements

        assert (paid.burnt, paid.restored) == (((grant, 7),), None)
        assert (back.burnt, back.restored) == (None, ((grant, 7),))

    @pytest.mark.parametrize(("payer", "payee"), [(-MAX_AMOUNT, 0), (0, MAX_AMOUNT)])
    def test_what_no_balance_can_hold_is_not_moved_though_nobody_has_asked_whether_it_fits(
        self, book: Book, payer: int, payee: int
    ) -> None:
        draft = Draft(book.state, book.now)
        debit = replace(book.account("a"), balance=payer)
        credit = replace(book.account("b"), balance=payee)

        with pytest.raises(OverflowError, match="a to b"):
            draft.move(debit, credit, 1, "transfer", {})
        assert draft.changes.movements == []


class TestTouched:
    """What must be known before an operation can be decided."""

    @pytest.mark.parametrize(
        ("operation", "accounts"),
        [
            (Transfer(debit="x", credit="y", amount=1), ("x", "y")),
            (Reserve(account="x", amount=1, timeout_seconds=1, to="y"), ("x", "y")),
            (OpenAccount(id="x"), ("x",)),
            (ChangeAccount(id="x"), ("x",)),
            (Grant(account="x", amount=1), ("x",)),
            (VoidGrant(account="x", grant="g"), ("x",)),
            (SetAlert(account="x"), ("x",)),
            (Settle(account="x"), ("x",)),
            (Note(kind="run", digest="00"), ()),
            (Commit(hold="hold_s0_99"), ()),
            (Void(hold="hold_s0_99"), ()),
            (Reverse(transfer="tx_s0_99"), ()),
        ],
        ids=lambda each: type(each).__name__ if not isinstance(each, tuple) else "",
    )
    def test_the_accounts_that_are_named(self, operation: Any, accounts: tuple[str, ...]) -> None:
        assert touched(operation, State("s0")) == accounts

    def test_and_those_of_the_hold_or_transfer_that_is_named(self, book: Book) -> None:
        hold = ask(book, Reserve(account="a", amount=5, timeout_seconds=60, to="b"))[0].body["id"]
        transfer = ask(book, Transfer(debit=ISSUANCE, credit="b", amount=5))[0].body["id"]

        assert touched(Commit(hold=hold), book.state) == ("a", "b")
        assert touched(Void(hold=hold), book.state) == ("a", "b")
        assert touched(Reverse(transfer=transfer), book.state) == ("b", ISSUANCE)


def test_what_time_did_to_the_payee_is_done_first_too(book: Book) -> None:
    begins = book.now + MICROSECONDS
    ask(book, Grant(account="b", amount=7, effective_at=begins))
    hold = ask(book, Reserve(account="a", amount=5, timeout_seconds=60, to="b"))[0].body["id"]
    book.sleep(1)

    answer = ask(book, Commit(hold=hold))[0]

    assert answer.body["balances"]["b"]["balance"] == 12


def test_a_transfers_row_says_what_it_left_on_both_accounts(book: Book) -> None:
    held = Reserve(account="a", amount=7, to="b", timeout_seconds=9)
    both = Reserve(account="b", amount=1, timeout_seconds=9)
    pay = Transfer(debit="a", credit="b", amount=5)
    operations = (held, pay, both, pay)
    before = {name: book.account(name) for name in ("a", "b")}

    _, changes = decide(
        book.state, [Request("me", operations, tuple("1234"))], book.state.head.at + 1
    )

    first, second = (
        (
            (m.debit_balance, m.debit_held, m.debit_version),
            (m.credit_balance, m.credit_held, m.credit_version),
        )
        for m in changes.movements
    )
    a, b = before["a"], before["b"]
    assert first == ((995, 7, a.version + 2), (b.balance + 5, 0, b.version + 1))
    assert second == ((990, 7, a.version + 3), (b.balance + 10, 1, b.version + 3))
