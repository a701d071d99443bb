"""The relay: what goes together, what is sent again, and what is said when time is up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from shieldx.ledger.relay import (
    NotSentError,
    OwnAnswers,
    Relay,
    RelayLimits,
    Standing,
    UnknownOutcomeError,
)

OWN = OwnAnswers("not sent", "unknown", "overloaded", "broken")
SHORT = RelayLimits(deadline_seconds=0.3, pause_seconds=0.01, longest_pause_seconds=0.02)

type Reaction = Exception | Callable[[Sequence[str]], Sequence[str]]


def done(items: Sequence[str]) -> list[str]:
    return [f"{item} done" for item in items]


@dataclass
class Side:
    """The other side: reacts as told, then as it last did; may be held."""

    reactions: list[Reaction] = field(default_factory=lambda: [done])
    calls: list[list[str]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def send(self, items: Sequence[str]) -> Sequence[str]:
        self.calls.append(list(items))
        await self.open.wait()
        reaction = self.reactions.pop(0) if len(self.reactions) > 1 else self.reactions[0]
        if isinstance(reaction, Exception):
            raise reaction
        return reaction(items)


@dataclass
class App:
    """Gives items to a relay and waits for what it is told."""

    relay: Relay[str, str]
    told: dict[str, list[str]] = field(default_factory=dict)

    def give(self, *items: str) -> None:
        for item in items:
            self.relay.submit(item, lambda answer, item=item: self._told(item, answer))  # type: ignore[misc]

    def _told(self, item: str, answer: str) -> None:
        self.told.setdefault(item, []).append(answer)

    async def until(self, count: int) -> dict[str, list[str]]:
        async with asyncio.timeout(30):
            while len(self.told) < count:  # noqa: ASYNC110 - seldom more than twice.
                await asyncio.sleep(0.005)
        return self.told


def standing(answer: str) -> Standing:
    return {"busy": Standing.NOT_DONE, "lost": Standing.UNKNOWN}.get(answer, Standing.SETTLED)


@asynccontextmanager
async def relaying(
    side: Side, limits: RelayLimits = SHORT, measure: Callable[[str], tuple[int, int]] | None = None
) -> AsyncIterator[App]:
    relay = Relay(
        side, OWN, measure=measure or (lambda _: (1, 1)), standing=standing, limits=limits
    )
    await relay.start()
    yield App(relay)
    await relay.close()


async def test_what_comes_during_a_call_goes_together_in_order() -> None:
    side = Side()
    async with relaying(side) as app:
        side.open.clear()
        app.give("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        app.give("b", "c", "d")
        side.open.set()

        told = await app.until(4)

    assert side.calls == [["a"], ["b", "c", "d"]]
    assert told == {item: [f"{item} done"] for item in "abcd"}


async def test_a_call_carries_no_more_operations_than_it_may() -> None:
    side = Side()
    limits = RelayLimits(call_operations=10)
    async with relaying(side, limits, lambda item: (int(item), 0)) as app:
        app.give("4", "6", "1", "12", "3")

        await app.until(5)

    assert side.calls == [["4", "6"], ["1"], ["12"], ["3"]]


async def test_a_call_carries_no_more_bytes_than_it_may() -> None:
    side = Side()
    limits = RelayLimits(call_bytes=10)
    async with relaying(side, limits, lambda item: (1, len(item))) as app:
        app.give("aaaaaa", "bbbbbb", "cc")

        await app.until(3)

    assert side.calls == [["aaaaaa"], ["bbbbbb", "cc"]]


@pytest.mark.parametrize("trouble", [NotSentError("away"), UnknownOutcomeError("cut")])
async def test_what_was_not_settled_is_sent_again_before_what_came_later(
    trouble: Exception,
) -> None:
    side = Side([trouble, trouble, done])
    async with relaying(side) as app:
        side.open.clear()
        app.give("a", "b")
        await asyncio.sleep(0.005)
        app.give("c")
        side.open.set()

        told = await app.until(3)

    assert side.calls == [["a", "b"], ["a", "b", "c"], ["a", "b", "c"]]
    assert told == {item: [f"{item} done"] for item in "abc"}


async def test_only_the_items_without_an_answer_that_settles_are_sent_again() -> None:
    side = Side([lambda _: ["a done", "busy", "lost"], done])
    async with relaying(side) as app:
        app.give("a", "b", "c")

        told = await app.until(3)

    assert side.calls == [["a", "b", "c"], ["b", "c"]]
    assert told == {item: [f"{item} done"] for item in "abc"}


@pytest.mark.parametrize(
    ("reactions", "said"),
    [
        ([NotSentError("away")], "not sent"),
        ([lambda items: ["busy"] * len(items)], "not sent"),
        ([UnknownOutcomeError("cut"), NotSentError("away")], "unknown"),
        ([lambda items: ["lost"] * len(items), NotSentError("away")], "unknown"),
        ([lambda _: [], NotSentError("away")], "unknown"),
    ],
)
async def test_at_the_deadline_it_says_whether_anything_was_sent(
    reactions: list[Reaction], said: str
) -> None:
    async with relaying(Side(reactions)) as app:
        app.give("a")

        assert await app.until(1) == {"a": [said]}


async def test_a_call_that_hangs_holds_nothing_past_its_deadline() -> None:
    side = Side()
    async with relaying(side) as app:
        side.open.clear()
        app.give("a")
        await asyncio.sleep(0.05)
        app.give("b")

        told = await app.until(2)

    assert side.calls == [["a"], ["b"]]
    assert told == {"a": ["unknown"], "b": ["unknown"]}


async def test_more_than_may_wait_is_told_so_at_once() -> None:
    side = Side()
    limits = RelayLimits(queue_operations=2)
    async with relaying(side, limits) as app:
        app.give("a", "b", "c")

        assert app.told == {"c": ["overloaded"]}


async def test_a_defect_of_the_way_is_an_answer_too() -> None:
    async with relaying(Side([ZeroDivisionError(), done])) as app:
        app.give("a")
        await app.until(1)
        app.give("b")

        assert await app.until(2) == {"a": ["broken"], "b": ["b done"]}


async def test_closing_settles_what_was_accepted_and_accepts_nothing_more() -> None:
    side = Side([UnknownOutcomeError("cut"), done])
    relay = Relay(side, OWN, limits=SHORT)
    app = App(relay)
    await relay.start()
    app.give("a", "b")
    closing = asyncio.create_task(relay.close())
    await asyncio.sleep(0)
    app.give("late")
    await closing

    assert app.told == {"a": ["a done"], "b": ["b done"], "late": ["not sent"]}


async def test_several_calls_at_a_time_when_asked() -> None:
    side = Side()
    limits = RelayLimits(call_operations=1, calls=2)
    async with relaying(side, limits) as app:
        side.open.clear()
        app.give("a", "b", "c")
        await asyncio.sleep(0.01)

        assert side.calls == [["a"], ["b"]]

        side.open.set()
        await app.until(3)
