"""The judge of histories: it agrees with a search through all orders, and a stale answer is red."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.chaos.history import Event, Refusal, first_fault


def drawn(rng: random.Random, length: int) -> tuple[list[Event], list[Refusal]]:
    """Draw a history that is linearizable: each answer is true at one moment while it was asked."""
    events, refusals = [Event("open", 0, 1, 1, 50, 0, 0)], []
    version, balance, held, moment = 1, 50, 0, 10
    for number in range(length):
        moment += 10
        began, ended = moment - rng.randrange(1, 60), moment + rng.randrange(1, 60)
        match rng.choice(["write", "write", "read", "refusal"]):
            case "write":
                moved, kept = rng.randint(-9, 9), rng.randint(0, 3)
                version, balance, held = version + 1, balance + moved, kept
                events.append(Event(f"w{number}", began, ended, version, balance, held, moved))
            case "read":
                events.append(Event(f"r{number}", began, ended, version, balance, held))
            case _:
                refusals.append(Refusal(f"f{number}", began, ended, balance - held))
    return events, refusals


def searched(events: Sequence[Event], refusals: Sequence[Refusal]) -> bool:
    """Search for an order as Wing and Gong do: whatever is over before all others began is next."""
    asked: list[Event | Refusal] = [*events, *refusals]
    seen: set[tuple[frozenset[int], int]] = set()

    def follow(left: frozenset[int], now: Event) -> bool:
        if not left:
            return True
        if (left, now.version) in seen:
            return False
        seen.add((left, now.version))
        deadline = min(asked[i].ended for i in left)
        return any(
            follow(left - {i}, after)
            for i in left
            if asked[i].began <= deadline and (after := step(now, asked[i])) is not None
        )

    return follow(frozenset(range(len(asked))), Event("nothing", 0, 0, 0, 50, 0))


def step(now: Event, asked: Event | Refusal) -> Event | None:
    """Return the account after this answer, if it can be the next one."""
    if isinstance(asked, Refusal):
        return now if asked.available == now.balance - now.held and now.version else None
    if asked.moved is None:
        same = (asked.version, asked.balance, asked.held) == (now.version, now.balance, now.held)
        return now if same else None
    follows = asked.version == now.version + 1 and asked.balance == now.balance + asked.moved
    return asked if follows else None


def spoiled(rng: random.Random, events: list[Event], refusals: list[Refusal]) -> None:
    """Change one answer to what another moment would have told."""
    writes = [e for e in events if e.wrote]
    number = rng.randrange(len(events) + len(refusals))
    other = rng.choice(writes)
    if number >= len(events):
        index = number - len(events)
        refusals[index] = replace(refusals[index], available=other.balance - other.held)
    elif events[number].wrote:
        shift = rng.randint(-150, 150)
        event = events[number]
        events[number] = replace(event, began=event.began + shift, ended=event.ended + shift)
    else:
        events[number] = showing(events[number], other)


def showing(event: Event, other: Event) -> Event:
    """Let a read show what another event shows."""
    return replace(event, version=other.version, balance=other.balance, held=other.held)


@pytest.mark.parametrize("seed", range(20))
def test_it_agrees_with_a_search_through_all_orders(seed: int) -> None:
    rng = random.Random(seed)
    found = {True: 0, False: 0}
    for _ in range(100):
        events, refusals = drawn(rng, rng.randint(2, 9))
        assert first_fault(events, refusals) is None
        spoiled(rng, events, refusals)

        linearizable = searched(events, refusals)

        assert (first_fault(events, refusals) is None) == linearizable, (events, refusals)
        found[linearizable] += 1
    assert min(found.values()) > 5


def test_a_planted_stale_answer_is_named() -> None:
    events, refusals = drawn(random.Random(7), 200)
    stale = next(e for e in events if not e.wrote and e.version > 20)
    old = next(e for e in events if e.wrote and e.version == stale.version - 15)

    events[events.index(stale)] = showing(stale, old)

    assert f"{stale.name} is stale" in str(first_fault(events, refusals))


def test_two_writes_of_one_version_are_named() -> None:
    events, refusals = drawn(random.Random(8), 50)
    write = next(e for e in events if e.wrote and e.version > 5)

    events.append(replace(write, name="twin"))

    assert f"twin and {write.name} both wrote" in str(first_fault(events, refusals))


def test_a_lost_update_is_named() -> None:
    events, refusals = drawn(random.Random(9), 50)
    index = next(i for i, e in enumerate(events) if e.wrote and e.version > 5 and e.moved)

    events[index] = replace(events[index], moved=0)

    assert f"{events[index].name} moved" in str(first_fault(events, refusals))
