"""What time does it does in order, as entries of its own, and nobody is there to be refused."""

from typing import Any

import msgspec
import pytest

from shieldx.ledger.model import MICROSECONDS, SYSTEM_CALLER, Code, Entry
from shieldx.ledger.operations import (
    BREAKAGE,
    ISSUANCE,
    MAX_AMOUNT,
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
    """Account a, with 1000 credits that came without a grant."""
    book = Book()
    book.open("a", amount=1000)
    return book


def made(book: Book, operation: Operation) -> str:
    answer = book.ask(operation)
    assert answer.code is Code.CREATED, answer
    return str(answer.body["id"])


def grant(book: Book, amount: int = 100, *, begins: int | None = None, ends: int = 100) -> str:
    """Grant to a; `begins` and `ends` are seconds from now."""
    return made(
        book,
        Grant(
            account="a",
            amount=amount,
            effective_at=None if begins is None else book.now + begins * MICROSECONDS,
            expires_at=book.now + ends * MICROSECONDS,
            metadata={"plan": "gold"},
        ),
    )


def reserve(book: Book, amount: int, seconds: int) -> str:
    return made(book, Reserve(account="a", amount=amount, timeout_seconds=seconds))


def settled(book: Book) -> list[tuple[dict[str, Any], Code, dict[str, Any]]]:
    """Let time be heard; return what it did: operation, code and answer of each entry."""
    book.ask(Settle(account="a"))
    return [told(entry) for entry in book.history[-1].entries]


def told(entry: Entry) -> tuple[dict[str, Any], Code, dict[str, Any]]:
    assert (entry.caller, entry.key) == (SYSTEM_CALLER, None)
    answer = msgspec.json.decode(entry.answer)
    return msgspec.json.decode(entry.operation), Code(entry.code), answer


def test_a_hold_expires_and_is_told_as_it_becomes(book: Book) -> None:
    hold = reserve(book, 300, 10)
    book.sleep(10)

    ((operation, code, answer),) = settled(book)

    assert (operation, code) == ({"type": "expire", "hold": hold}, Code.CREATED)
    assert (answer["id"], answer["state"], answer["remaining"]) == (hold, "expired", 0)
    assert answer["balances"]["a"] == {
        "balance": 1000,
        "held": 0,
        "available": 1000,
        "version": 4,
    }


def test_a_grant_begins_with_a_transfer_from_issuance(book: Book) -> None:
    name = grant(book, begins=10)
    before = book.account("a").version
    book.sleep(10)

    ((operation, code, answer),) = settled(book)

    assert (operation, code) == ({"type": "activate", "grant": name}, Code.CREATED)
    assert (answer["debit"], answer["credit"], answer["amount"]) == (ISSUANCE, "a", 100)
    assert (answer["kind"], answer["metadata"]) == ("grant", {"plan": "gold"})
    assert book.account("a").version == before + 1
    assert book.settled()[1][name].state == "active"


def test_a_grant_ends_with_what_is_free_of_it_going_to_breakage(book: Book) -> None:
    name = grant(book, ends=10)
    hold = reserve(book, 30, 60)
    before = book.account("a").version
    book.sleep(10)

    ((operation, code, answer),) = settled(book)

    assert (operation, code) == ({"type": "expire_grant", "grant": name}, Code.CREATED)
    assert (answer["debit"], answer["credit"], answer["amount"]) == ("a", BREAKAGE, 70)
    assert (answer["kind"], answer["metadata"]) == ("expiry", {})
    assert book.account("a").version == before + 1
    assert book.hold(hold).claims == ((name, 30),)


def test_a_grant_that_is_all_held_ends_without_a_transfer(book: Book) -> None:
    name = grant(book, ends=10)
    reserve(book, 100, 60)
    before = book.account("a")
    book.sleep(10)

    ((operation, _, answer),) = settled(book)

    assert operation == {"type": "expire_grant", "grant": name}
    assert (answer["id"], answer["state"]) == (name, "expired")
    assert (answer["remaining"], answer["held"]) == (100, 100)
    after = book.account("a")
    assert (after.balance, after.held) == (before.balance, before.held)
    assert (after.lots, after.version) == (before.lots, before.version + 1)


def test_a_grant_that_no_balance_could_hold_ends_when_it_should_begin(book: Book) -> None:
    name = grant(book, begins=10, ends=20)
    book.open("rich", floor=None)
    made(book, Transfer(debit="rich", credit="a", amount=MAX_AMOUNT - 1000))
    before = book.account("a")
    book.sleep(10)

    ((operation, code, answer),) = settled(book)

    assert operation == {"type": "activate", "grant": name}
    assert (code, answer["account"]) == (Code.BALANCE_OVERFLOW, "a")
    after, lot = book.account("a"), book.state.lots[name]
    assert (after.balance, after.lots, after.next_due) == (before.balance, 0, None)
    assert after.version == before.version + 1
    assert lot is not None
    assert (lot.state, lot.remaining) == ("voided", 0)
    book.sleep(100)
    assert settled(book) == []


def test_what_became_due_first_is_done_first(book: Book) -> None:
    late = reserve(book, 10, 30)
    lot = grant(book, begins=10, ends=20)
    early = reserve(book, 10, 5)
    book.sleep(60)

    done = [(operation["type"], list(operation.values())[1]) for operation, _, _ in settled(book)]

    assert done == [
        ("expire", early),
        ("activate", lot),
        ("expire_grant", lot),
        ("expire", late),
    ]
    assert settled(book) == []
    assert book.account("a").next_due is None


def test_what_is_not_due_is_left_for_later(book: Book) -> None:
    hold, lot = reserve(book, 10, 30), grant(book, begins=10, ends=20)
    assert settled(book) == []

    for seconds, names in ((10, [lot]), (9, []), (1, [lot]), (9, []), (1, [hold]), (100, [])):
        book.sleep(seconds)
        assert [list(operation.values())[1] for operation, _, _ in settled(book)] == names


def test_the_next_moment_is_never_too_late(book: Book) -> None:
    """`next_due` is what the keeper and every write look at: nothing may lie before it."""
    start = book.now
    assert book.account("a").next_due is None
    reserve(book, 10, 30)
    assert book.account("a").next_due == start + 30 * MICROSECONDS
    grant(book, begins=10, ends=20)
    assert book.account("a").next_due == start + 10 * MICROSECONDS
    grant(book, ends=50)
    assert book.account("a").next_due == start + 10 * MICROSECONDS
    book.sleep(10)
    settled(book)
    assert book.account("a").next_due == start + 20 * MICROSECONDS


@pytest.mark.parametrize("end", [Commit, Void])
def test_time_need_not_look_at_an_account_whose_holds_are_finished(
    book: Book, end: type[Commit | Void]
) -> None:
    first, second = reserve(book, 10, 30), reserve(book, 10, 60)
    due = book.account("a").next_due
    made(book, end(hold=first))
    assert book.account("a").next_due == due  # No later than the second one's end, that is enough.
    made(book, end(hold=second))
    assert book.account("a").next_due is None


def test_time_looks_at_an_account_with_a_grant_though_its_holds_are_finished(book: Book) -> None:
    grant(book, ends=50)
    due = book.account("a").next_due
    made(book, Commit(hold=reserve(book, 10, 60)))
    assert book.account("a").next_due == due


def test_a_restored_lot_is_due_again(book: Book) -> None:
    end = book.now + 10 * MICROSECONDS
    grant(book, ends=10)
    spent = made(book, Transfer(debit="a", credit=REVENUE, amount=100))
    made(book, Reverse(transfer=spent))

    due = book.account("a").next_due

    assert due is not None
    assert due <= end


def test_nothing_is_due_on_an_account_that_is_not_there() -> None:
    book = Book()

    assert book.ask(Settle(account="nobody")).code is Code.CREATED
    assert book.history[-1].entries == []


def test_what_lapses_with_a_hold_goes_where_its_lots_end_sends_it(book: Book) -> None:
    """Of one hold on two lots, one expired and one voided: breakage and issuance."""
    first = grant(book, 10, ends=10)
    second = grant(book, 20, ends=60)
    hold = reserve(book, 30, 15)
    made(book, VoidGrant(account="a", grant=second))
    issued = book.account(ISSUANCE).balance
    book.sleep(15)

    told_first, told_last = settled(book)

    assert book.hold(hold).claims == ()

    assert told_first[0] == {"type": "expire_grant", "grant": first}
    assert told_last[0] == {"type": "expire", "hold": hold}
    moves = [(each.credit, each.amount, each.kind) for each in book.history[-1].movements]
    assert moves == [(BREAKAGE, 10, "expiry"), (ISSUANCE, 20, "void_grant")]
    assert all(each.metadata == {} for each in book.history[-1].movements)
    assert book.account(ISSUANCE).balance == issued + 20
    assert told_last[2]["balances"]["a"]["balance"] == 1000
    assert book.account("a").lots == 0
