"""From samples with labels, wherever they were found, to what a pod has counted."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from shieldx.signals.readings import (
    Counter,
    Histogram,
    Problem,
    Question,
    Reading,
    Series,
    Trouble,
    reading,
)

MOST_SERIES: Final = 2000
LE: Final = "le"

type Sample = tuple[Mapping[str, str], float]


def reading_of(
    question: Question, samples: Iterable[Sample], pod: str, *, taken_at: float | None = None
) -> Reading | Problem:
    """Return the reading of a counter or histogram from the samples of one pod.

    A counter without samples has counted nothing yet: clients differ in whether they even
    declare it before the first event.
    """
    series: dict[str, Series] = {}
    known: set[str] = set()
    for labels, value in samples:
        if isinstance(question, Counter) and not question.among.matches(labels):
            continue
        try:
            key, found = _series(question, labels, value)
        except ValueError:
            return malformed(pod, question, f"le={labels.get(LE)!r} is no boundary")
        if key in series:
            return malformed(pod, question, f"{{{key}}} is there twice")
        if len(series) == MOST_SERIES:
            return malformed(pod, question, f"more than {MOST_SERIES} series")
        series[key] = found
        known |= labels.keys()
    match question:
        case Counter():
            missing = [it.label for it in question.bad.matchers if it.label not in known]
            if series and missing:
                # To Prometheus a missing label is empty, so a mistyped one would call nothing bad.
                message = f"{question.metric} of pod {pod} has no label {missing[0]!r}: "
                return Problem(Trouble.NO_LABEL, f"{message}{sorted(known)}")
        case Histogram():
            if fault := _fault(series):
                return malformed(pod, question, fault)
    return reading(series, taken_at=taken_at)


def malformed(pod: str, question: Question, fault: str) -> Problem:
    """Say what is wrong with what a pod shows."""
    return Problem(Trouble.MALFORMED, f"{question.metric} of pod {pod}: {fault}")


def _series(question: Question, labels: Mapping[str, str], value: float) -> tuple[str, Series]:
    """Return a series and its key; ValueError if it should have a boundary and has none."""
    match question:
        case Counter():
            return _key(labels), Series(value, bad=question.bad.matches(labels))
        case Histogram():
            # One boundary may be written in several ways, 1 and 1.0.
            le = float(labels.get(LE, ""))
            if math.isnan(le):
                raise ValueError(LE)
            others = {name: text for name, text in labels.items() if name != LE}
            return f"{_key(others)} {LE}={le!r}", Series(value, le=le)


def _key(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={labels[name]!r}" for name in sorted(labels))


def _fault(series: Mapping[str, Series]) -> str | None:
    """Say what makes the series no histogram: each label set rises to +Inf by the same steps."""
    steps: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for key, it in series.items():
        if it.le is not None:
            steps[key.rpartition(" ")[0]].append((it.le, it.value))
    for labels, rising in steps.items():
        rising.sort()
        if rising[-1][0] != math.inf:
            return f'{{{labels}}} has no le="+Inf"'
        if any(more[1] < less[1] for less, more in pairwise(rising)):
            return f"{{{labels}}} falls from one boundary to the next"
    if len({tuple(le for le, _ in rising) for rising in steps.values()}) > 1:
        return "its label sets have different boundaries"
    return None
