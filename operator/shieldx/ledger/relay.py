"""The one relay: what waits is sent on together, and what became of it is settled by key.

While a call is in flight the next items gather, so a lone item leaves at once and under load a
call is whatever came meanwhile. An item whose call got no answer may have been done: it is sent
again, which its key makes harmless, until an answer comes or its deadline. Nothing waits longer
than that, and what a deadline finds is told apart: *nothing was sent*, or *nobody knows*.

    NotSentError          the other side was asked nothing
    UnknownOutcomeError   it was asked, and the answer is lost
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 0.1


class NotSentError(Exception):
    """The other side was asked nothing."""


class UnknownOutcomeError(Exception):
    """The other side was asked, and its answer is lost."""


class Transport[Item, Answer](Protocol):
    """The way to the other side."""

    async def send(self, items: Sequence[Item]) -> Sequence[Answer]:
        """Return one answer an item, in order; NotSentError, UnknownOutcomeError."""
        ...


class Standing(Enum):
    """What an answer says of its item."""

    SETTLED = auto()
    NOT_DONE = auto()  # the other side could not, now: ask again
    UNKNOWN = auto()  # the other side does not know itself: its key will tell


@dataclass(frozen=True, slots=True)
class OwnAnswers[Answer]:
    """What the relay answers by itself."""

    not_sent: Answer
    unknown: Answer
    overloaded: Answer
    broken: Answer


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """How much, how often and how long.

    More than one call at a time lets a later item overtake an earlier one: only where the order
    of items that wait at the same time cannot matter.
    """

    call_operations: int = 1000
    call_bytes: int = 4 * 1024 * 1024
    queue_operations: int = 20_000
    calls: int = 1
    deadline_seconds: float = 10.0
    pause_seconds: float = 0.02
    longest_pause_seconds: float = 0.5


@dataclass(slots=True, eq=False)
class _Waiting[Item, Answer]:
    item: Item
    done: Callable[[Answer], None]
    operations: int
    bytes: int
    deadline: float
    perhaps_done: bool = False
    answered: bool = False


class Relay[Item, Answer]:
    """Sends items on in calls, and answers each of them once.

    `measure` gives an item's operations and bytes, `standing` what an answer says of its item.
    """

    def __init__(
        self,
        transport: Transport[Item, Answer],
        own: OwnAnswers[Answer],
        *,
        measure: Callable[[Item], tuple[int, int]] = lambda _: (1, 0),
        standing: Callable[[Answer], Standing] = lambda _: Standing.SETTLED,
        limits: RelayLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sent = 0
        self.calls = 0
        self.failures = 0
        self._transport = transport
        self._own = own
        self._measure = measure
        self._standing = standing
        self._limits = limits or RelayLimits()
        self._monotonic = monotonic
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._in_flight: set[_Waiting[Item, Answer]] = set()
        self._queued = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """Operations that wait for their call."""
        return self._queued

    async def start(self) -> None:
        """Begin to send."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._limits.calls)]
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Settle all that was accepted, by its deadline at the latest, and end."""
        self._closing = True
        self._wake.set()
        if self._tasks:
            await asyncio.gather(*self._tasks)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def submit(self, item: Item, done: Callable[[Answer], None]) -> None:
        """Accept an item, or answer at once that it is one too many; `done` must not raise."""
        operations, size = self._measure(item)
        if self._closing:
            done(self._own.not_sent)
        elif self._queued + operations > self._limits.queue_operations:
            done(self._own.overloaded)
        else:
            deadline = self._monotonic() + self._limits.deadline_seconds
            self._queue.append(_Waiting(item, done, operations, size, deadline))
            self._queued += operations
            self._wake.set()

    async def _work(self) -> None:
        pause = 0.0
        while True:
            while not self._queue:
                if self._closing and not self._in_flight:
                    return
                self._wake.clear()
                await self._wake.wait()
            batch = self._take()
            if not batch:
                continue
            if await self._call(batch):
                pause = 0.0
                continue
            self.failures += 1
            pause = min(
                max(2 * pause, self._limits.pause_seconds), self._limits.longest_pause_seconds
            )
            await asyncio.sleep(pause)

    def _take(self) -> list[_Waiting[Item, Answer]]:
        """Take what fits into one call from the front of the queue, without what is too late."""
        batch: list[_Waiting[Item, Answer]] = []
        operations = size = 0
        now = self._monotonic()
        while self._queue:
            first = self._queue[0]
            full = (
                operations + first.operations > self._limits.call_operations
                or size + first.bytes > self._limits.call_bytes
            )
            if batch and full:
                break
            self._queue.popleft()
            self._queued -= first.operations
            if first.deadline <= now:
                self._give_up(first)
            if not first.answered:
                batch.append(first)
                operations += first.operations
                size += first.bytes
        return batch

    async def _call(self, batch: list[_Waiting[Item, Answer]]) -> bool:
        """Send a batch; return whether any of it is settled. What is not waits at the front."""
        self._in_flight.update(batch)
        self.calls += 1
        try:
            seconds = max(one.deadline for one in batch) - self._monotonic()
            async with asyncio.timeout(seconds):
                answers = await self._transport.send([one.item for one in batch])
            if len(answers) != len(batch):
                raise UnknownOutcomeError(f"{len(answers)} answers to {len(batch)} items")  # noqa: TRY301 - as good as lost.
        except NotSentError as problem:
            logger.debug("Nothing was sent: %s", problem)
            self._again(batch)
            return False
        except (UnknownOutcomeError, TimeoutError) as problem:
            logger.debug("An answer is lost: %r", problem)
            for one in batch:
                one.perhaps_done = True
            self._again(batch)
            return False
        except Exception:
            logger.exception("A call failed inside the relay")
            for one in batch:
                self._answer(one, self._own.unknown if one.perhaps_done else self._own.broken)
            return True
        finally:
            self._in_flight.difference_update(batch)
            if self._closing:
                self._wake.set()
        left = [
            one
            for one, answer in zip(batch, answers, strict=True)
            if not self._settles(one, answer)
        ]
        self._again(left)
        return len(left) < len(batch)

    def _settles(self, one: _Waiting[Item, Answer], answer: Answer) -> bool:
        match self._standing(answer):
            case Standing.SETTLED:
                self.sent += one.operations
                self._answer(one, answer)
                return True
            case Standing.UNKNOWN:
                one.perhaps_done = True
            case Standing.NOT_DONE:
                pass
        return False

    def _again(self, batch: list[_Waiting[Item, Answer]]) -> None:
        left = [one for one in batch if not one.answered]
        self._queue.extendleft(reversed(left))
        self._queued += sum(one.operations for one in left)

    async def _sweep(self) -> None:
        """Answer what has reached its deadline, wherever it is."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._monotonic()
            for one in [*self._in_flight, *self._queue]:
                if one.deadline <= now:
                    # What is in flight has been sent, as far as anybody here can tell.
                    one.perhaps_done |= one in self._in_flight
                    self._give_up(one)

    def _give_up(self, one: _Waiting[Item, Answer]) -> None:
        self._answer(one, self._own.unknown if one.perhaps_done else self._own.not_sent)

    def _answer(self, one: _Waiting[Item, Answer], answer: Answer) -> None:
        if not one.answered:
            one.answered = True
            one.done(answer)
