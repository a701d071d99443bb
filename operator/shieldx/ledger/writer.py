"""Hands every write to the shard's one writer, or decides it here when there is none to hear it.

Two processes that decide for one shard at once refuse each other's batches and do less than half
of what one does; so one decides, and the others are relays to it. That is for speed only: a write
may be decided anywhere, at any time, twice even, for its key and the guard of `store` settle it.
So silence costs patience and nothing else: after half a second what was sent is decided here.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec.structs import replace

from shieldx.ledger import routing
from shieldx.ledger.batcher import BROKEN, OVERLOADED, UNAVAILABLE, UNKNOWN, Batcher
from shieldx.ledger.jobs import Job
from shieldx.ledger.leadership import Leadership
from shieldx.ledger.records import Answer, Code
from shieldx.ledger.relay import (
    NotSentError,
    OwnAnswers,
    Relay,
    RelayLimits,
    Standing,
    UnknownOutcomeError,
)
from shieldx.ledger.routing import Role, Silence, View

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 0.5
PROBE_SECONDS: Final = 0.25
LIMITS: Final = RelayLimits(deadline_seconds=5.0)

type Answers = Sequence[Answer]


class Way(Protocol):
    """The way to another process: `shieldx.ledger.forward.Forward`."""

    async def send(self, address: str, jobs: Sequence[Job]) -> Sequence[Answers]: ...

    async def hears(self, address: str) -> bool: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Peers:
    """How the processes of one ledger reach each other; without an address none reaches this."""

    way: Way
    address: str | None = None


class Writer:
    """Takes jobs as a `Batcher` does, and finds who decides them."""

    def __init__(
        self,
        batcher: Batcher,
        leadership: Leadership,
        way: Way,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leadership = leadership
        self.silences = 0
        self._batcher = batcher
        self._way = way
        self._monotonic = monotonic
        self._silence: Silence | None = None
        self._relay: Relay[Job, Answers] = Relay(
            self,
            OwnAnswers((UNAVAILABLE,), (UNKNOWN,), (OVERLOADED,), (BROKEN,)),
            measure=lambda job: (len(job.operations), 0),
            standing=_standing,
            limits=LIMITS,
        )
        self._probing: asyncio.Task[None] | None = None

    @property
    def role(self) -> Role:
        """What this process is to its shard now."""
        return routing.role(self._view())

    @property
    def relayed(self) -> int:
        """Operations whose answers came through the relay."""
        return self._relay.sent

    @property
    def queued(self) -> int:
        """Operations that wait for their call."""
        return self._relay.queued

    async def start(self) -> None:
        """Find out who writes, and begin."""
        await self.leadership.start()
        await self._relay.start()
        self._probing = asyncio.create_task(self._probe())

    async def close(self) -> None:
        """Answer all that was accepted, and free the shard for another writer."""
        await self._relay.close()
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
        await self.leadership.close()
        await self._way.close()

    def submit(self, job: Job) -> None:
        """Accept a job, or answer at once that it is one too many."""
        if self.role is not Role.RELAY:
            self._batcher.submit(job)
            return

        def done(answers: Answers) -> None:
            # What the relay itself answers is one for all.
            job.done(
                answers if len(answers) == len(job.operations) else [*answers] * len(job.operations)
            )

        self._relay.submit(job, done)

    async def send(self, items: Sequence[Job]) -> Sequence[Answers]:
        """Ask the writer, and whatever it does not answer in time, decide here."""
        view = self._view()
        if routing.role(view) is Role.RELAY and view.holder is not None:
            asked_at = self._monotonic()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await self._way.send(view.holder.address, items)
            except (NotSentError, UnknownOutcomeError, TimeoutError) as problem:
                logger.info("The writer of epoch %d is silent: %r", view.holder.epoch, problem)
                self.silences += 1
                self._silence = routing.unanswered(self._view(), view.holder.epoch, asked_at)
        return await self._decide_here(items)

    async def _decide_here(self, jobs: Sequence[Job]) -> Sequence[Answers]:
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[Answers]] = []
        for job in jobs:
            answered: asyncio.Future[Answers] = loop.create_future()
            waiting.append(answered)
            self._batcher.submit(replace(job, done=_setter(answered)))
        return await asyncio.gather(*waiting)

    async def _probe(self) -> None:
        """While the writer is silent, ask whether it hears again; when it has gone on, end it."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            view = self._view()
            if view.silence is not None and view.holder is not None and not view.mine:
                try:
                    async with asyncio.timeout(PROBE_SECONDS):
                        if await self._way.hears(view.holder.address):
                            self._silence = None
                except TimeoutError:
                    pass
                except Exception:
                    logger.exception("Asking the silent writer failed")
            epoch = routing.to_end(self._view(), self._monotonic())
            if epoch is not None and self.leadership.address is not None:
                self.leadership.end(epoch)

    def _view(self) -> View:
        leadership = self.leadership
        return View(leadership.mine, leadership.holder, leadership.address, self._silence)


def _setter(answered: "asyncio.Future[Answers]") -> Callable[[Answers], None]:
    def done(answers: Answers) -> None:
        if not answered.done():
            answered.set_result(answers)

    return done


def _standing(answers: Answers) -> Standing:
    codes = {answer.code for answer in answers}
    if Code.OUTCOME_UNKNOWN in codes:
        return Standing.UNKNOWN
    if Code.SHARD_UNAVAILABLE in codes:
        return Standing.NOT_DONE
    return Standing.SETTLED
