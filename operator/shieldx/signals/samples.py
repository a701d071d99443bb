"""From samples with labels, wherever they were found, to what a pod has counted."""

from collections.abc import Iterable, Mapping
from typing import Final

from shieldx.signals.readings import Counter, Problem, Reading, Series, Trouble, reading

MOST_SERIES: Final = 2000

type Sample = tuple[Mapping[str, str], float]


def reading_of(
    counter: Counter, samples: Iterable[Sample], pod: str, *, taken_at: float | None = None
) -> Reading | Problem:
    """Return the reading of a counter from the samples of one pod.

    A counter without samples has counted nothing yet: clients differ in whether they even
    declare it before the first event.
    """
    series: dict[str, Series] = {}
    known: set[str] = set()
    for labels, value in samples:
        key = ",".join(f"{name}={labels[name]!r}" for name in sorted(labels))
        if key in series:
            return malformed(pod, counter, f"{{{key}}} is there twice")
        if len(series) == MOST_SERIES:
            return malformed(pod, counter, f"more than {MOST_SERIES} series")
        series[key] = Series(value, counter.bad.matches(labels))
        known |= labels.keys()
    missing = [it.label for it in counter.bad.matchers if it.label not in known]
    if series and missing:
        # To Prometheus a missing label is empty, so a mistyped one would call nothing bad.
        message = f"{counter.counter} of pod {pod} has no label {missing[0]!r}: {sorted(known)}"
        return Problem(Trouble.NO_LABEL, message)
    return reading(series, taken_at=taken_at)


def malformed(pod: str, counter: Counter, fault: str) -> Problem:
    """Say what is wrong with what a pod shows."""
    return Problem(Trouble.MALFORMED, f"{counter.counter} of pod {pod}: {fault}")
