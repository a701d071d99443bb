"""A circuit breaker: whether a neighbour that failed is to be asked again yet.

Pure: time is an argument, in seconds of any monotonic clock. It decides about asking only. What
was sent and got no answer stays "unknown"; a breaker refuses what has not been sent, and nothing
else.

              enough failures in a row                 rest is over: one is let through
    CLOSED ────────────────────────────▶ OPEN ──────────────────────────────▶ HALF_OPEN
       ▲                                   ▲                                      │  │
       │                                   └──────────────── it fails ────────────┘  │
       └───────────────────────────────────────────────────── it succeeds ───────────┘
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a breaker lets through: everything, one trial, nothing."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Patience:
    """How many failures in a row open the breaker, and how long it rests: longer each time."""

    failures: int = 5
    rest_seconds: float = 0.5
    longest_rest_seconds: float = 5.0


class Breaker:
    """Counts what became of calls; `allows` before one, `succeeded` or `failed` after it."""

    __slots__ = ("_patience", "_rest_seconds", "_until", "failures", "opened", "state")

    def __init__(self, patience: Patience | None = None) -> None:
        self.state = State.CLOSED
        self.opened = 0
        self._patience = patience or Patience()
        # In a row; none of a breaker that is as it was made.
        self.failures = 0
        self._rest_seconds = self._patience.rest_seconds
        self._until = 0.0

    def allows(self, now: float) -> bool:
        """Whether to ask now; of a half-open breaker one call learns yes, and the rest no.

        A trial of which nothing is heard is followed by another one after as long a rest.
        """
        if self.state is State.CLOSED:
            return True
        if now < self._until:
            return False
        self.state = State.HALF_OPEN
        self._until = now + self._rest_seconds
        return True

    @property
    def is_open(self) -> bool:
        return self.state is State.OPEN

    def retry_after(self, now: float) -> float:
        """Return in how many seconds the next trial is due."""
        return 0.0 if self.state is State.CLOSED else max(0.0, self._until - now)

    def succeeded(self) -> None:
        """Take notice of an answer, whatever it says."""
        self.state = State.CLOSED
        self.failures = 0
        self._rest_seconds = self._patience.rest_seconds

    def failed(self, now: float) -> None:
        """Take notice of a call that was not answered, or could not be made."""
        match self.state:
            case State.CLOSED:
                self.failures += 1
                if self.failures >= self._patience.failures:
                    self._open(now)
            case State.HALF_OPEN:
                longest = self._patience.longest_rest_seconds
                self._rest_seconds = min(2 * self._rest_seconds, longest)
                self._open(now)
            case State.OPEN:
                pass  # An answer to what was asked before: it tells nothing new.

    def _open(self, now: float) -> None:
        self.state = State.OPEN
        self.opened += 1
        self._until = now + self._rest_seconds
