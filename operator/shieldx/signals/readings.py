"""What a source reads: raw counters of each pod of two arms, or why there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from shieldx.signals.selector import Selector

# What a float counts exactly; more is nonsense.
LARGEST_COUNT: Final = 2.0**53


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as Kubernetes describes it.

    `started_at`: the newest start of one of its containers, seconds since 1970; `restarts`: the
    sum over its containers.
    """

    uid: str
    name: str
    ip: str
    started_at: float
    restarts: int
    ready: bool


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter to watch, under the name of its guardrail, and which of its series are bad."""

    name: str
    counter: str
    bad: Selector


class Series(NamedTuple):
    """Raw value of one series of a counter, and whether the selector calls it bad."""

    value: float
    bad: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """Raw values of a counter in one pod, by the labels of its series; a series may be new.

    `taken_at`: when the pod said so, where somebody else has asked it, seconds since 1970; None
    if that was in the round itself.
    """

    series: Mapping[str, Series]
    taken_at: float | None = None


class Trouble(StrEnum):
    """Why there is no reading."""

    NOT_SCRAPED = "NotScraped"
    NO_LABEL = "NoLabel"
    AMBIGUOUS = "Ambiguous"
    MALFORMED = "Malformed"


@dataclass(frozen=True, slots=True)
class Problem:
    """No reading, and what to say about it."""

    trouble: Trouble
    message: str


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
    """Something that can read counters of pods; it never raises for what a pod does."""

    async def scrape(
        self,
        counters: Sequence[Counter],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        *,
        at: float,
    ) -> Scrape:
        """Read every counter of every pod as it stood at `at`, which is now or just was."""


def reading(series: Mapping[str, Series], *, taken_at: float | None = None) -> Reading | Problem:
    """Return a reading if every value can be a count of events."""
    for labels, (value, _) in series.items():
        if not (0 <= value <= LARGEST_COUNT and value.is_integer()):  # False for NaN, too.
            return Problem(Trouble.MALFORMED, f"{value} of {{{labels}}} is no count of events")
    return Reading(series, taken_at)
