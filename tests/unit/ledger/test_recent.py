"""What batches brought makes room, the oldest first; what is still needed stays."""

import pytest

from shieldx.ledger.model import State, decide, merge
from shieldx.ledger.operations import (
    ISSUANCE,
    OpenAccount,
    Operation,
    Reserve,
    Reverse,
    Transfer,
)
from shieldx.ledger.recent import Recent
from shieldx.ledger.records import Changes, Request
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


def test_the_oldest_batches_make_room_and_accounts_stay(state: State) -> None:
    recent = Recent(8)
    recent.add(batch(state, "open", OpenAccount(id="a")))
    recent.add(batch(state, "first", REFILL, Reserve(account="a", amount=1, timeout_seconds=9)))
    (hold,) = state.holds
    recent.add(batch(state, "second", Transfer(debit="a", credit="system/revenue", amount=1)))
    recent.make_room(state, None)
    assert set(state.keys) == {("me", key) for key in ("open0", "first0", "first1", "second0")}

    recent.add(batch(state, "third", *[REFILL] * 3))
    recent.make_room(state, None)

    assert set(state.keys) == {("me", key) for key in ("second0", "third0", "third1", "third2")}
    assert list(state.posted) == [f"tx_s0_{number}" for number in (2, 3, 4, 5)]
    assert hold not in state.holds
    assert state.accounts["a"] is not None
    assert state.accounts["a"].balance == 9 - 1 + 27


def test_references_make_room_with_their_transfers(state: State) -> None:
    recent = Recent(1)
    batch(state, "open", OpenAccount(id="a"))
    known = Transfer(debit=ISSUANCE, credit="a", amount=9, reference="invoice 7")

    recent.add(batch(state, "first", known))
    recent.make_room(state, None)

    assert (dict(state.references), dict(state.posted)) == ({}, {})


def test_what_a_batch_on_its_way_builds_upon_stays(state: State) -> None:
    recent = Recent(0)
    batch(state, "open", OpenAccount(id="a"))
    held = Reserve(account="a", amount=1, timeout_seconds=9)
    recent.add(batch(state, "first", REFILL, REFILL, held))
    (hold,) = state.holds
    requests = [Request("me", (Reverse(transfer="tx_s0_2", amount=1),), ("ahead",))]
    _, ahead = decide(state, requests, state.head.at)
    ahead.holds[hold] = state.holds[hold]  # type: ignore[assignment]  # It is there.

    recent.make_room(state, ahead)

    assert (list(state.posted), list(state.holds)) == (["tx_s0_2"], [hold])
    assert ("me", "first1") not in state.keys
