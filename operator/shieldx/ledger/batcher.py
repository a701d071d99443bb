"""Group commit: while one batch is being stored, the next one gathers, and is decided already.

There is no timer: a lone request is stored at once, and under load a batch is whatever came
while the last one was in flight. A job that touches only what is known is decided when it comes
(`ahead`); from the first one that is not, they wait for the database. Answers leave after COMMIT
only. Safety does not depend on this
process being alone: `store` is guarded by the chain's position and the rows' versions, so of two
processes that decide at once one is refused, reloads and decides again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from shieldx.ledger.ahead import Ahead
from shieldx.ledger.catching_up import catch_up, retract
from shieldx.ledger.draft import Draft
from shieldx.ledger.jobs import Job
from shieldx.ledger.model import MICROSECONDS, Answer, Changes, Code, State, decide_next, merge
from shieldx.ledger.needs import Needs, needs_of
from shieldx.ledger.operations import Operation
from shieldx.ledger.postgres import (
    APPLICATION,
    BreachError,
    KnownKeyError,
    OutcomeUnknownError,
    Shard,
    ShardUnavailableError,
    StaleError,
)
from shieldx.ledger.recent import Recent
from shieldx.ledger.rows import rows_of
from shieldx.ledger.steps import Step, reached

logger = logging.getLogger(__name__)

# More would not fit into the buffer of the socket to Postgres, which would wait for the rest until
# the next batch is decided.
BATCH_OPERATIONS: Final = 250
QUEUE_OPERATIONS: Final = 20_000
REMEMBERED_ROWS: Final = 400_000
REFUSALS_BEFORE_LOCK: Final = 3
ATTEMPTS: Final = 12
# Who was overtaken by more begins anew.
CATCH_UP_ENTRIES: Final = 5000
# After a key that memory did not know, so many batches ask the database for theirs first.
WARY_BATCHES: Final = 20
RECONNECT_SECONDS: Final = 0.5
# All of a batch have the time of its first: what is decided ahead must not be of the past.
AHEAD_MICROSECONDS: Final = 100_000

UNAVAILABLE: Final = Answer(
    Code.SHARD_UNAVAILABLE, {"message": "the shard's database cannot be reached: try again later"}
)
UNKNOWN: Final = Answer(
    Code.OUTCOME_UNKNOWN,
    {"message": "the answer of the database was lost: retry with the same key, which settles it"},
)
OVERLOADED: Final = Answer(
    Code.OVERLOADED, {"message": "more is waiting than can be done in time: try again later"}
)
BROKEN: Final = Answer(
    Code.INTERNAL_ERROR, {"message": "the ledger could not do this; its log says why"}
)


class Batcher:
    """Decides and stores for one shard, one batch at a time."""

    def __init__(
        self,
        dsn: str,
        shard: str,
        *,
        application: str = APPLICATION,
        monotonic: Callable[[], float] = time.monotonic,
        on_batch: Callable[[int, float], None] | None = None,
        seal: Callable[[bytes], str] | None = None,
    ) -> None:
        self._seal = seal
        self.on_batch = on_batch
        self.stopped_because: str | None = None
        self._dsn = dsn
        self._name = shard
        self._application = application
        self._monotonic = monotonic
        self._jobs: deque[Job] = deque()
        self._queued = 0
        # Operations of the batch that is being stored, or was last.
        self._storing = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._shard: Shard | None = None
        self._state = State(shard, seal)
        self._recent = Recent()
        # What the last batches brought, of which `_recent` knows nothing yet.
        self._brought: list[Changes] = []
        self._ahead: Ahead | None = None
        # Whether what comes may be decided on `_state`, which then is as of the last batch stored
        # or sent.
        self._open = False
        self._advances = False
        self._clock_offset = 0
        self._wary = 0
        self._next_connect = 0.0

    @property
    def ready(self) -> bool:
        """Whether the database was there when last used, and may be used."""
        return self._shard is not None and self.stopped_because is None

    def seal_with(self, seal: Callable[[bytes], str]) -> None:
        """Seal new entries so from the next batch on."""
        self._seal = self._state.seal = seal

    @property
    def queued(self) -> int:
        """Operations that wait for their batch."""
        return self._queued

    async def start(self) -> None:
        """Begin to work; the database need not be there yet."""
        self._task = asyncio.create_task(self._run())
        self._wake.set()

    async def close(self) -> None:
        """Answer all that was accepted, then let go of the database."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        if self._shard is not None:
            await self._shard.close()
            self._shard = None

    def submit(self, job: Job) -> None:
        """Accept a job, or answer at once that it is one too many."""
        if self._closing or self._queued + len(job.operations) > QUEUE_OPERATIONS:
            job.all(UNAVAILABLE if self._closing else OVERLOADED)
            return
        if self._open and not self._advances:
            # When all that has come by then is there: like work goes faster in one go.
            self._advances = True
            asyncio.get_running_loop().call_soon(self._advance)
        self._jobs.append(job)
        self._queued += len(job.operations)
        self._wake.set()

    def _advance(self) -> None:
        """Decide ahead what waits, if that takes nothing that is not known."""
        self._advances = False
        if not self._open or not self._jobs:
            return
        state = self._state
        now = max(state.head.at, self._database_time())
        ahead = self._ahead or Ahead(state, now)
        if ahead.rows is not None or now - ahead.draft.now > AHEAD_MICROSECONDS:
            return
        room = self._room() - ahead.operations
        if ahead.operations and len(self._jobs[0].operations) > room:
            ahead.close()
            return
        jobs = self._take(room)
        if any(job.dry for job in jobs) or needs_of(state, jobs, now, wary=False):
            self._jobs.extendleft(reversed(jobs))
            self._open = False
            return
        reached(Step.LOADED)
        self._ahead = ahead
        try:
            ahead.decide(jobs)
            if self._jobs or ahead.operations >= self._room():
                ahead.close()
        except Exception:  # noqa: BLE001 - whose fault it is, is found out in its batch.
            self._withdraw()
        reached(Step.AHEAD)

    def _withdraw(self) -> None:
        """Let what was decided ahead be decided again, before whatever came later."""
        ahead, self._ahead, self._open = self._ahead, None, False
        if ahead is not None:
            self._jobs.extendleft(reversed(ahead.jobs))

    async def _run(self) -> None:
        while True:
            if not self._jobs and self._ahead is None:
                if self._closing:
                    return
                self._wake.clear()
                self._open = self._shard is not None and not self._wary
                await self._connect_in_time()
            self._advance()
            ahead, self._ahead = self._ahead, None
            jobs = self._take(self._room()) if ahead is None else ahead.jobs
            if jobs:
                size = sum(len(job.operations) for job in jobs)
                self._queued -= size
                self._storing = size
                reached(Step.TAKEN)
                began = self._monotonic()
                await self._settle(jobs, ahead)
                if self.on_batch:
                    self.on_batch(size, self._monotonic() - began)

    async def _connect_in_time(self) -> None:
        """Wait for work; while there is no database, look for it now and then."""
        while not self._wake.is_set():
            if self._shard is not None:
                await self._wake.wait()
                return
            if self._monotonic() >= self._next_connect:
                await self._connect()
            try:
                async with asyncio.timeout(RECONNECT_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _room(self) -> int:
        """Return how many operations go into the next batch: half of all that are on their way.

        Who is answered asks again, so what is on its way falls into two batches that take turns.
        Of equal ones this process works on one while Postgres works on the other; a large and a
        small one would chase each other for ever, and make each side wait in turn.
        """
        return min(BATCH_OPERATIONS, (self._storing + self._queued + 1) // 2)

    def _take(self, most: int) -> list[Job]:
        """Take jobs of at most so many operations out of the queue."""
        jobs: list[Job] = []
        size = 0
        while self._jobs and (not jobs or size + len(self._jobs[0].operations) <= most):
            job = self._jobs.popleft()
            jobs.append(job)
            size += len(job.operations)
        return jobs

    async def _settle(self, jobs: list[Job], ahead: Ahead | None = None) -> None:
        """Make jobs durable and answer them; whatever happens, each is answered once."""
        try:
            answers = await self._make_durable(jobs, ahead)
        except ShardUnavailableError as problem:
            self._abandon(problem)
            for job in jobs:
                job.all(UNAVAILABLE)
        except OutcomeUnknownError as problem:
            self._abandon(problem)
            for job in jobs:
                job.all(UNKNOWN)
        except Exception as defect:  # noqa: BLE001 - whatever it is, each job is answered.
            await self._isolate(jobs, defect)
        else:
            # After the next batch has been sent: while Postgres works there is time to answer.
            asyncio.get_running_loop().call_soon(_tell, jobs, answers)

    async def _isolate(self, jobs: list[Job], defect: Exception) -> None:
        """Find the poisoned job by halving, so that the others do not suffer."""
        self._forget()
        if isinstance(defect, BreachError) and defect.fatal:
            self.stopped_because = str(defect)
        if len(jobs) > 1 and self.stopped_because is None:
            middle = len(jobs) // 2
            await self._settle(jobs[:middle])
            await self._settle(jobs[middle:])
            return
        logger.error("A batch could not be stored", exc_info=defect)
        for job in jobs:
            job.all(BROKEN)

    async def _make_durable(self, jobs: list[Job], ahead: Ahead | None) -> list[list[Answer]]:
        if self.stopped_because is not None:
            raise BreachError(self.stopped_because)
        for attempt in range(ATTEMPTS):
            shard = await self._connected()
            try:
                if ahead is not None and attempt == 0:
                    await self._store(shard, ahead.draft.changes, ahead.rows)
                    return ahead.answers
                if attempt < REFUSALS_BEFORE_LOCK:
                    return await self._attempt(shard, jobs, wary=self._wary > 0)
                return await self._attempt_locked(shard, jobs)
            except StaleError as refused:
                logger.debug("Deciding again: %s", refused)
                if not isinstance(refused, KnownKeyError):
                    await self._catch_up(shard)
                self._wary = WARY_BATCHES
        raise ShardUnavailableError(f"{ATTEMPTS} attempts were overtaken")

    async def _catch_up(self, shard: Shard) -> None:
        """Forget what others have changed; all of it, where that cannot be told."""
        since = self._state.head.position
        entries, head = await shard.entries_after(since, CATCH_UP_ENTRIES)
        if entries and len(entries) == head.position - since:
            catch_up(self._state, entries, head)
        else:
            self._forget()

    async def _attempt_locked(self, shard: Shard, jobs: list[Job]) -> list[list[Answer]]:
        """Decide and store while nobody else can: this cannot be overtaken."""
        self._forget()
        await shard.begin()
        reached(Step.HEAD_LOCKED)
        try:
            answers = await self._attempt(shard, jobs, wary=True)
            await shard.commit()
        except (OutcomeUnknownError, ShardUnavailableError):
            raise
        except Exception:
            await shard.rollback()
            raise
        return answers

    async def _attempt(self, shard: Shard, jobs: list[Job], *, wary: bool) -> list[list[Answer]]:
        self._withdraw()
        state = self._state
        now = max(state.head.at, self._database_time())
        needs = needs_of(state, jobs, now, wary=wary)
        if needs:
            await self._load(shard, needs, now)
            if any(key in state.keys and key not in state.used for key in needs.keys):
                self._wary = WARY_BATCHES
            if state.head.at > now:
                # Another process is ahead of our clock: what is overdue must be seen by its time.
                now = state.head.at
                await self._load(shard, needs_of(state, jobs, now, wary=wary), now)
        reached(Step.LOADED)
        draft = Draft(state, now)
        decided = iter([decide_next(draft, job) for job in jobs if not job.dry])
        await self._store(shard, draft.changes, rehearses=any(job.dry for job in jobs))
        return [_rehearsed(state, job, now) if job.dry else next(decided) for job in jobs]

    async def _store(
        self,
        shard: Shard,
        changes: Changes,
        rows: list[object] | None = None,
        *,
        rehearses: bool = False,
    ) -> None:
        """Make changes durable; what comes meanwhile is decided on what will be then.

        What is known stays if the batch also `rehearses` something, which comes after.
        """
        state = self._state
        reached(Step.DECIDED)
        if changes.entries:
            loop = asyncio.get_running_loop()
            head, rows = state.head, rows or rows_of(state, changes)
            # Eager: it is on its way before anything is done that Postgres need not wait for.
            storing = asyncio.Task(shard.store(rows), loop=loop, eager_start=True)
            merge(state, changes)
            if not rehearses:
                self._make_room()
            reached(Step.MERGED)
            if not self._wary:
                self._open = True
                loop.call_soon(self._advance)
            try:
                await storing
            except Exception:
                self._withdraw()
                retract(state, changes, head)
                raise
            reached(Step.STORED)
            self._brought.append(changes)
        self._wary = max(0, self._wary - 1)
        known = len(state.keys) + len(state.posted) + len(state.accounts) + len(state.lots)
        if known > REMEMBERED_ROWS:
            self._forget()

    def _make_room(self) -> None:
        """Take note of what the last batches brought, and forget what is older.

        Only when the next one has been sent: what is known when its needs are looked up must stay
        until it is decided, and none has been begun that builds upon what was sent.
        """
        for changes in self._brought:
            self._recent.add(changes)
        self._brought.clear()
        self._recent.make_room(self._state)

    async def _load(self, shard: Shard, needs: Needs, now: int) -> None:
        database_time = await shard.load(
            self._state,
            accounts=needs.accounts,
            grants=needs.grants,
            holds=needs.holds,
            transfers=needs.transfers,
            references=needs.references,
            keys=needs.keys,
            due=needs.due,
            now=now,
        )
        self._clock_offset = database_time - int(self._monotonic() * MICROSECONDS)

    def _database_time(self) -> int:
        return self._clock_offset + int(self._monotonic() * MICROSECONDS)

    async def _connected(self) -> Shard:
        if self._shard is None:
            if self._monotonic() < self._next_connect:
                raise ShardUnavailableError("no connection to Postgres")
            await self._connect()
        if self._shard is None:
            raise ShardUnavailableError("no connection to Postgres")
        return self._shard

    async def _connect(self) -> None:
        self._next_connect = self._monotonic() + RECONNECT_SECONDS
        self._forget()
        try:
            shard = await Shard.open(self._dsn, self._name, self._application)
            self._shard = shard
            reached(Step.CONNECTED)
            await self._load(shard, Needs(), 0)
        except ShardUnavailableError as problem:
            self._abandon(problem)

    def _abandon(self, problem: Exception) -> None:
        logger.warning("The connection to Postgres is given up: %s", problem)
        self._forget()
        if self._shard is not None:
            self._shard.abandon()
            self._shard = None

    def _forget(self) -> None:
        self._withdraw()
        self._state = State(self._name, self._seal)
        self._recent = Recent()
        self._brought = []


async def perform(batcher: Batcher, caller: str, key: str | None, operation: Operation) -> Answer:
    """Submit one operation and wait for its answer."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def done(answers: Sequence[Answer]) -> None:
        if not future.cancelled():
            future.set_result(answers[0])

    batcher.submit(Job(caller, (operation,), (key,), atomic=False, done=done))
    return await future


def _tell(jobs: Sequence[Job], answers: Sequence[Sequence[Answer]]) -> None:
    """Answer all; that one cannot use its answer harms none of the others."""
    for job, answer in zip(jobs, answers, strict=True):
        try:
            job.done(answer)
        except Exception:
            logger.exception("An answer could not be given")
    reached(Step.ANSWERED)


def _rehearsed(state: State, job: Job, now: int) -> list[Answer]:
    """Decide a dry job on what is durable now; nothing of it is kept."""
    return [replace(answer, receipt=None) for answer in decide_next(Draft(state, now), job)]
