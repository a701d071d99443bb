"""A breaker before the batcher: while the shard is away, what would only wait is answered at once.

It opens when several jobs in a row were not sent to Postgres at all. What was sent and got no
answer is neither a failure nor a success: only its key can tell. And it refuses only what has not
been sent, so what it says, "not done", is always true.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from shieldx.breaker import Breaker, State
from shieldx.ledger.batcher import UNAVAILABLE
from shieldx.ledger.jobs import Job
from shieldx.ledger.records import Answer, Code

# What this answers itself; an object of its own, so that it is known when it is heard again.
RESTING: Final = replace(UNAVAILABLE)
# What is answered without Postgres having been heard.
SILENT: Final = frozenset({Code.OUTCOME_UNKNOWN, Code.OVERLOADED, Code.INTERNAL_ERROR})


class Store(Protocol):
    """What makes jobs durable."""

    @property
    def ready(self) -> bool:
        """Whether the database was there when last used."""
        ...

    def submit(self, job: Job) -> None: ...


class Fuse:
    """Hands jobs to the store, unless the store could not send the last ones.

    Whoever submits a job says by `heard` what was answered.
    """

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.breaker = Breaker()
        self._store = store
        self._monotonic = monotonic

    def submit(self, job: Job) -> None:
        """Accept a job, or answer at once that the shard is away."""
        if self.breaker.state is not State.CLOSED and self._store.ready:
            # The store looks for the database by itself: nobody need be sent ahead.
            self.breaker.succeeded()
        if self.breaker.state is State.CLOSED or self.breaker.allows(self._monotonic()):
            self._store.submit(job)
        else:
            job.all(RESTING)

    def heard(self, answers: Sequence[Answer]) -> None:
        """Learn from a job's answers; any of them tells: one not sent is answered alike."""
        code = answers[0].code
        if code is Code.CREATED:
            if self.breaker.failures:
                self.breaker.succeeded()
        elif code is Code.SHARD_UNAVAILABLE:
            if answers[0] is not RESTING:
                self.breaker.failed(self._monotonic())
        elif code not in SILENT:
            self.breaker.succeeded()
