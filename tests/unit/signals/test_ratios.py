"""Two counters, of bad requests and of all: read together, and compared as one share."""

import math
from dataclasses import replace

import pytest

from shieldx.judgement.beginning import asked
from shieldx.resources.shadowexperiment import BadShare, Guardrail, Margin
from shieldx.signals.buckets import Bucket, Recorder
from shieldx.signals.pods import parse
from shieldx.signals.readings import Counter, Pod, PodReadings, Problem, Scrape, Trouble
from shieldx.signals.selector import EVERYTHING, Selector
from shieldx.signals.states import EvidenceReason

START, TEN = 1_000_000.0, 10.0
FAILED = Counter("errors", "failed_total", EVERYTHING, of="requests_total")
OLD = Pod("old", "old", "10.0.0.1", 0.0, 0, ready=True)
NEW = replace(OLD, uid="new", name="new")


def page(requests: float, failed: float | None, late: float = 0) -> str:
    lines = [
        f'requests_total{{path="/"}} {requests}',
        "requests_total_of_others 9",
        "# TYPE failed_total counter",
        *([] if failed is None else [f'failed_total{{kind="broken"}} {failed}']),
        *([f'failed_total{{kind="late"}} {late}'] if late else []),
    ]
    return "\n".join(lines)


def bucket(first: str, second: str, question: Counter = FAILED) -> Bucket:
    recorder = Recorder([question.name], TEN)
    for at, (champion, tried) in enumerate([(page(100, 10), first), (page(180, 11), second)]):
        old = {"old": PodReadings(OLD, parse(champion, [question], "old"))}
        new = {"new": PodReadings(NEW, parse(tried, [question], "new"))}
        recorder.add(Scrape(old, new), START + at * TEN)
    (closed,) = recorder.closed()
    return closed


def test_the_growth_of_one_counter_is_a_share_of_that_of_the_other() -> None:
    closed = bucket(page(7, 1), page(27, 4))

    assert closed.metrics["errors"].counts == (80, 1, 20, 3)


def test_failures_that_nobody_has_declared_yet_are_none() -> None:
    assert bucket(page(7, None), page(27, None)).metrics["errors"].counts == (80, 1, 20, 0)
    assert bucket(page(7, None), page(27, 2)).metrics["errors"].counts == (80, 1, 20, 2)


def test_of_the_failures_some_may_be_chosen() -> None:
    late = replace(FAILED, bad=Selector.parse('kind="late"'))

    closed = bucket(page(7, 1, late=1), page(27, 9, late=3), late)

    assert closed.metrics["errors"].counts == (80, 0, 20, 2)


def test_a_label_that_no_failure_has_is_said() -> None:
    mistyped = replace(FAILED, bad=Selector.parse('knid="late"'))

    found = parse(page(7, 1), [mistyped], "p")["errors"]

    assert isinstance(found, Problem)
    assert found.trouble is Trouble.NO_LABEL
    assert "has no label 'knid': ['kind']" in found.message


def test_a_failure_that_was_counted_a_moment_before_its_request_is_no_nonsense() -> None:
    assert bucket(page(7, 1), page(9, 4)).metrics["errors"].counts == (80, 1, 2, 2)


def test_counters_of_different_things_are_no_share() -> None:
    closed = bucket(page(7, 1), page(27, 91))

    assert closed.reason is EvidenceReason.MALFORMED
    assert "90 bad events of 20" in closed.message
    assert closed.metrics["errors"].counts is None


def test_without_the_counter_of_all_nothing_is_a_share() -> None:
    closed = bucket("failed_total 1", "failed_total 4")

    assert closed.reason is EvidenceReason.NO_SERIES
    assert closed.metrics["errors"].counts is None


@pytest.mark.parametrize("value", [math.nan, -1, 1e300])
@pytest.mark.parametrize("which", ["requests", "failed"])
def test_neither_of_both_may_be_nonsense(which: str, value: float) -> None:
    text = page(**{"requests": 7.0, "failed": 1.0, which: value})

    found = parse(text, [FAILED], "p")["errors"]

    assert isinstance(found, Problem)
    assert found.trouble is Trouble.MALFORMED


def test_what_a_spec_asks_for_is_asked() -> None:
    share = BadShare("failed_total", "", of="requests_total")
    guardrail = Guardrail("errors", share, Margin(0.01, 0.0), None, 0.01)

    assert asked(guardrail) == FAILED
