"""What batches brought makes room, the oldest first; what is still needed stays."""

import pytest

from shieldx.ledger.jobs import Job
from shieldx.ledger.model import State, decide, merge
from shieldx.ledger.needs import needs_of
from shieldx.ledger.operations import (
    ISSUANCE,
    OpenAccount,
    Operation,
    Reserve,
    Transfer,
)
from shieldx.ledger.recent import Recent
from shieldx.ledger.records import Changes, Remembered, Request, UsedKeys
from tests.support.book import Book

REFILL = Transfer(debit=ISSUANCE, credit="a", amount=9)


@pytest.fixture
def state() -> State:
    return Book().state


def batch(state: State, key: str, *operations: Operation) -> Changes:
    """Decide and merge operations under `key0`, `key1` and so on."""
    keys = tuple(f"{key}{number}" for number in range(len(operations)))
    _, changes = decide(state, [Request("me", operations, keys)], state.head.at + 1)
    merge(state, changes)
    return changes


def test_the_oldest_answers_make_room_batch_by_batch(state: State) -> None:
    recent = Recent(answers=4)
    recent.add(batch(state, "open", OpenAccount(id="a")))
    recent.add(batch(state, "first", REFILL, REFILL))
    recent.add(batch(state, "second", Transfer(debit="a", credit="system/revenue", amount=1)))
    recent.make_room(state)
    assert set(state.keys) == {("me", key) for key in ("open0", "first0", "first1", "second0")}

    recent.add(batch(state, "third", *[REFILL] * 2))
    recent.make_room(state)

    assert set(state.keys) == {("me", key) for key in ("second0", "third0", "third1")}
    assert list(state.posted) == [f"tx_s0_{number}" for number in (3, 4, 5)]
    # The accounts stay, and that keys were used stays known.
    assert state.accounts["a"] is not None
    assert state.accounts["a"].balance == 9 * 4 - 1
    assert ("me", "first1") in state.used
    assert ("me", "third0") not in state.used


def test_holds_stay_for_longer_than_answers(state: State) -> None:
    reserve = Reserve(account="a", amount=1, timeout_seconds=9)
    recent = Recent(answers=0, holds=2)
    for key, operation in (("open", OpenAccount(id="a")), ("refill", REFILL)):
        recent.add(batch(state, key, operation))

    recent.add(batch(state, "two", reserve, reserve))
    recent.make_room(state)
    assert (len(state.keys), len(state.holds)) == (0, 2)

    (first, second) = state.holds
    recent.add(batch(state, "third", reserve))
    recent.make_room(state)
    assert not {first, second} & set(state.holds)
    assert len(state.holds) == 1


def test_references_make_room_as_their_transfers_do(state: State) -> None:
    recent = Recent(answers=0)
    batch(state, "open", OpenAccount(id="a"))
    known = Transfer(debit=ISSUANCE, credit="a", amount=9, reference="invoice 7")

    recent.add(batch(state, "first", known))
    recent.make_room(state)

    assert (dict(state.references), dict(state.posted)) == ({}, {})


def test_of_used_keys_the_older_half_makes_room_at_once() -> None:
    used = UsedKeys(4)
    for number in range(4):
        used.add(("me", str(number)))
    assert all(("me", str(number)) in used for number in range(4))
    assert ("you", "0") not in used

    used.add(("me", "4"))

    assert [("me", str(number)) in used for number in range(5)] == [False, False, True, True, True]


def test_a_key_that_was_used_is_read_before_anything_is_decided(state: State) -> None:
    job = Job("me", (REFILL,), ("old",), done=lambda _: None)
    assert needs_of(state, [job], 0, wary=False).keys == set()

    state.used.add(("me", "old"))
    assert needs_of(state, [job], 0, wary=False).keys == {("me", "old")}

    state.keys["me", "old"] = Remembered(b"", "created", b"{}")
    assert needs_of(state, [job], 0, wary=False).keys == set()
