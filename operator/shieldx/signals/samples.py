"""From samples with labels, wherever they were found, to what a pod has counted."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
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

type Sample = tuple[str, Mapping[str, str], float]


def reading_of(
    question: Question, samples: Iterable[Sample], pod: str, *, taken_at: float | None = None
) -> Reading | Problem:
    """Return the reading of a counter or histogram from the samples of one pod, each with a name.

    A counter without samples has counted nothing yet: clients differ in whether they even
    declare it before the first event.
    """
    series: dict[str, Series] = {}
    known: set[str] | None = None
    for name, labels, value in samples:
        if name == question.metric:
            known = (known or set()) | labels.keys()
        if isinstance(question, Counter) and not _counts(question, name, labels):
            continue
        try:
            key, found = _series(question, name, labels, value)
        except ValueError:
            return malformed(pod, question, f"le={labels.get(LE)!r} is no boundary")
        if key in series:
            return malformed(pod, question, f"{{{key}}} is there twice")
        if len(series) == MOST_SERIES:
            return malformed(pod, question, f"more than {MOST_SERIES} series")
        series[key] = found
    match question:
        case Counter() if known is not None and (missing := _missing(question, known)):
            message = f"{question.metric} of pod {pod} has no label {missing!r}: {sorted(known)}"
            return Problem(Trouble.NO_LABEL, message)
        case Histogram() if fault := _fault(series):
            return malformed(pod, question, fault)
    return reading(series, taken_at=taken_at)


def malformed(pod: str, question: Question, fault: str) -> Problem:
    """Say what is wrong with what a pod shows."""
    return Problem(Trouble.MALFORMED, f"{question.metric} of pod {pod}: {fault}")


def _counts(question: Counter, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a series is one of those that are counted."""
    if name == question.of:
        return True
    wanted = question.among if question.of is None else question.bad
    return wanted.matches(labels)


def _missing(question: Counter, known: Collection[str]) -> str | None:
    """Return a label that `bad` asks for and no series has.

    To Prometheus a missing label is empty, so a mistyped one would call nothing bad.
    """
    missing = (it.label for it in question.bad.matchers if it.label not in known)
    return next(missing, None)


def _series(
    question: Question, name: str, labels: Mapping[str, str], value: float
) -> tuple[str, Series]:
    """Return a series and its key; ValueError if it should have a boundary and has none."""
    match question:
        case Counter(of=None):
            return _key(labels), Series(value, bad=question.bad.matches(labels))
        case Counter():
            bad = name != question.of
            return f"{name} {_key(labels)}", Series(value, bad=bad, again=bad)
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
