"""What a source reads: raw counters of each pod of two arms, or why there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from shieldx.signals.selector import EVERYTHING, Selector

# What a float counts exactly; more is nonsense.
LARGEST_COUNT: Final = 2.0**53


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as Kubernetes describes it.

    `started_at`: the newest start of one of its containers, seconds since 1970; `restarts`: the
    sum over its containers. `ledger` and `relay_port`: the ledger that it has a relay to, and where
    that shows its metrics. `watched`: whether its restarts are known; of the past they are not.
    """

    uid: str
    name: str
    ip: str
    started_at: float
    restarts: int
    ready: bool
    ledger: str | None = None
    relay_port: int | None = None
    watched: bool = True


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter to watch, under the name of its guardrail, and which of its series are bad.

    Only series that `among` selects count. With a `ledger` it is of the pod's relay to it. With
    `of` the counter is of bad events alone, and that one of all.
    """

    name: str
    counter: str
    bad: Selector
    among: Selector = EVERYTHING
    ledger: str | None = None
    of: str | None = None

    @property
    def metric(self) -> str:
        """The name of the series of which some are bad."""
        return self.counter

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all its series."""
        return (self.counter,) if self.of is None else (self.counter, self.of)


@dataclass(frozen=True, slots=True)
class Histogram:
    """A classic histogram to watch, under the name of its guardrail."""

    name: str
    histogram: str

    @property
    def metric(self) -> str:
        """The name of its series."""
        return f"{self.histogram}_bucket"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all its series."""
        return (self.metric,)


type Question = Counter | Histogram


class Series(NamedTuple):
    """Raw value of one series, and whether the selector calls it bad; of a histogram its `le`.

    `again`: its events are counted by another series as well, which says that they happened.
    """

    value: float
    bad: bool = False
    le: float | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Raw values of a counter or histogram in one pod, by the labels of its series.

    A series may be new. `taken_at`: when the pod said so, where somebody else has asked it,
    seconds since 1970; None if that was in the round itself. `gone`: what series had come to that
    were there before, in the same process, and are not now. `doubted`: for how many rounds more
    what it shows is not believed.
    """

    series: Mapping[str, Series]
    taken_at: float | None = None
    gone: Mapping[str, float] = field(default_factory=dict)
    doubted: int = 0


class Trouble(StrEnum):
    """Why there is no reading."""

    NOT_SCRAPED = "NotScraped"
    NO_LABEL = "NoLabel"
    AMBIGUOUS = "Ambiguous"
    MALFORMED = "Malformed"
    NO_RELAY = "NoRelay"


@dataclass(frozen=True, slots=True)
class Problem:
    """No reading, what to say about it, and what is still known of the readings before."""

    trouble: Trouble
    message: str
    gone: Mapping[str, float] = field(default_factory=dict)
    doubted: int = 0


@dataclass(frozen=True, slots=True)
class PodReadings:
    """One pod and its readings by name of the guardrail."""

    pod: Pod
    readings: Mapping[str, Reading | Problem]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One round over both arms, by uid of the pod.

    `early`: what is missing may still come; the same round, asked again soon, may have it.
    """

    champion: Mapping[str, PodReadings]
    challenger: Mapping[str, PodReadings]
    early: bool = False


class MetricSource(Protocol):
    """Something that can read what pods count; it never raises for what a pod does."""

    async def scrape(
        self,
        questions: Sequence[Question],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        *,
        at: float,
    ) -> Scrape:
        """Answer every question about every pod as it stood at `at`, which is now or just was."""


def reading(series: Mapping[str, Series], *, taken_at: float | None = None) -> Reading | Problem:
    """Return a reading if every value can be a count of events."""
    for labels, (value, *_) in series.items():
        if not (0 <= value <= LARGEST_COUNT and value.is_integer()):  # False for NaN, too.
            return Problem(Trouble.MALFORMED, f"{value} of {{{labels}}} is no count of events")
    return Reading(series, taken_at)
