"""Alerts are raised once when crossed, and notes are in the chain."""

import msgspec

from shieldx.ledger.operations import ISSUANCE, REVENUE, Note, Reserve, SetAlert, Transfer
from tests.support.book import Book


def raised(book: Book) -> list[int]:
    """Return what was available each time an alert was raised."""
    entries = [entry for changes in book.history for entry in changes.entries]
    return [
        msgspec.json.decode(entry.answer)["available"]
        for entry in entries
        if b'"type":"alert"' in entry.operation
    ]


def test_an_alert_is_raised_once_when_crossed_and_again_after_recovery() -> None:
    book = Book()
    book.open("a", amount=100)
    consume = Transfer(debit="a", credit=REVENUE, amount=30, kind="consume")
    book.ask(SetAlert(account="a", available_below=50))

    book.ask(consume)
    assert raised(book) == []
    book.ask(consume)
    book.ask(consume)
    assert raised(book) == [40]
    book.ask(Transfer(debit=ISSUANCE, credit="a", amount=60, kind="refill"))
    book.ask(consume)
    assert raised(book) == [40, 40]


def test_an_alert_that_is_set_too_late_is_raised_at_once_and_none_is_none() -> None:
    book = Book()
    book.open("a", amount=10)

    book.ask(SetAlert(account="a", available_below=11))
    assert raised(book) == [10]
    book.ask(SetAlert(account="a"))
    book.ask(Transfer(debit="a", credit=REVENUE, amount=10, kind="consume"))
    assert raised(book) == [10]


def test_an_alert_that_is_set_anew_is_raised_anew() -> None:
    book = Book()
    book.open("a", amount=40)
    book.ask(SetAlert(account="a", available_below=50))

    book.ask(SetAlert(account="a", available_below=60))
    assert raised(book) == [40, 40]
    book.ask(SetAlert(account="a", available_below=40))
    assert raised(book) == [40, 40]
    assert not book.account("a").alerted


def test_an_alert_is_over_though_another_account_of_the_transfer_is_as_it_was() -> None:
    book = Book()
    book.open("a", amount=10)
    book.open("b", amount=100)
    book.ask(SetAlert(account="a", available_below=50))
    book.ask(SetAlert(account="b", available_below=5))

    book.ask(Transfer(debit="b", credit="a", amount=60))

    assert not book.account("a").alerted
    assert not book.account("b").alerted


def test_an_alert_is_an_entry_of_its_own_with_all_figures() -> None:
    book = Book()
    book.open("a", amount=100)
    book.ask(SetAlert(account="a", available_below=50))
    book.ask(Reserve(account="a", amount=60, timeout_seconds=9))

    asked, alert = book.history[-1].entries

    assert asked.caller == "me"
    assert (alert.caller, alert.key, alert.code) == ("system", None, "created")
    assert msgspec.json.decode(alert.operation) == {"type": "alert", "account": "a"}
    assert msgspec.json.decode(alert.answer) == {
        "account": "a",
        "available_below": 50,
        "balance": 100,
        "held": 60,
        "available": 40,
        "version": 4,
    }


def test_what_a_batch_did_is_told_of_each_account_once() -> None:
    book = Book()
    book.open("a", "b", amount=100)
    for name in ("a", "b"):
        book.ask(SetAlert(account=name, available_below=50))
    steps = [Transfer(debit=name, credit=REVENUE, amount=60) for name in ("a", "b")]

    book.together(steps, "batch")
    book.ask(Transfer(debit="a", credit=REVENUE, amount=1))

    assert raised(book) == [40, 40]


def test_what_an_aborted_batch_did_raises_nothing() -> None:
    book = Book()
    book.open("a", amount=100)
    book.ask(SetAlert(account="a", available_below=50))
    most, more = (Transfer(debit="a", credit=REVENUE, amount=n, kind="consume") for n in (60, 60))

    book.together([most, more], "batch")

    assert raised(book) == []
    assert not book.account("a").alerted


def test_a_note_is_in_the_chain() -> None:
    book = Book()

    answer = book.ask(Note(kind="run", digest="ab" * 32))

    assert answer.body["position"] == book.state.head.position
    assert answer.body["digest"] == "ab" * 32
