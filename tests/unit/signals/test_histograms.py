"""Histograms, from what pods show to the slower requests of a bucket."""

from dataclasses import replace
from math import inf

import pytest

from shieldx.signals.baseline import Baseline
from shieldx.signals.buckets import Bucket, Recorder
from shieldx.signals.pods import parse
from shieldx.signals.readings import Histogram, Pod, PodReadings, Problem, Reading, Scrape, Series
from shieldx.signals.states import EvidenceReason

LATENCY = Histogram("latency", "http_request_duration_seconds")
START, TEN = 1_000_000.0, 10.0
TEXT = """\
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{path="/",le="0.1"} 50
http_request_duration_seconds_bucket{path="/",le="1"} 95
http_request_duration_seconds_bucket{path="/",le="+Inf"} 100
http_request_duration_seconds_sum{path="/"} 17.5
http_request_duration_seconds_count{path="/"} 100
http_request_duration_seconds_bucket{path="/b",le="0.1"} 1
http_request_duration_seconds_bucket{path="/b",le="1.0"} 2
http_request_duration_seconds_bucket{path="/b",le="+Inf"} 2
"""


def shown(text: str) -> Reading | Problem:
    return parse(text, [LATENCY], "p")["latency"]


def test_buckets_are_read_and_nothing_else() -> None:
    assert shown(TEXT) == Reading(
        {
            "path='/' le=0.1": Series(50, le=0.1),
            "path='/' le=1.0": Series(95, le=1.0),
            "path='/' le=inf": Series(100, le=inf),
            "path='/b' le=0.1": Series(1, le=0.1),
            "path='/b' le=1.0": Series(2, le=1.0),
            "path='/b' le=inf": Series(2, le=inf),
        }
    )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('le="+Inf"} 100', 'le="2"} 100', 'has no le="+Inf"'),
        ('le="1"} 95', 'le="1"} 49', "falls from one boundary to the next"),
        ('le="1.0"} 2', 'le="2.0"} 2', "different boundaries"),
        ('le="1"} 95', 'le="1"} NaN', "no count of events"),
        ('le="1"} 95', 'le="much"} 95', "le='much' is no boundary"),
        ('le="1"} 95', 'le="NaN"} 95', "le='NaN' is no boundary"),
        (',le="1"} 95', "} 95", "le=None is no boundary"),
        ('le="0.1"} 50', 'le="1.0"} 50', "is there twice"),
    ],
)
def test_what_is_no_histogram_is_no_reading(old: str, new: str, says: str) -> None:
    found = shown(TEXT.replace(old, new, 1))

    assert isinstance(found, Problem)
    assert says in found.message


def pod(uid: str) -> Pod:
    return Pod(uid, uid, "10.0.0.1", 0, 0, ready=True)


def read(**at_most: int) -> Reading:
    """Return a reading from counts by boundary in milliseconds; `all` is the total."""
    les = {name: inf if name == "all" else float(name[2:]) / 1000 for name in at_most}
    return Reading({f"le={les[k]}": Series(n, le=les[k]) for k, n in at_most.items()})


OLD, NEW = pod("old"), pod("new")
FIRST = read(ms100=50, ms250=90, all=100)
THEN = read(ms100=90, ms250=180, all=200)


def bucket(
    champion: tuple[Reading, Reading], challenger: tuple[Reading, Reading], new: Pod = NEW
) -> Bucket:
    recorder = Recorder(["latency"], TEN)
    for at, (one, other) in enumerate(zip(champion, challenger, strict=True)):
        old = {OLD.uid: PodReadings(OLD, {"latency": one})}
        tried = {new.uid: PodReadings(new, {"latency": other})}
        recorder.add(Scrape(old, tried), START + at * TEN)
    (closed,) = recorder.closed()
    return closed


def test_the_slower_ones_than_each_boundary_are_the_bad_ones() -> None:
    slow = read(ms100=60, ms250=105, all=120)

    closed = bucket((FIRST, THEN), (FIRST, slow))

    assert list(closed.metrics) == ["latency", "latency<=0.1", "latency<=0.25"]
    assert closed.metrics["latency"].counts == (100, 0, 20, 0)
    assert closed.metrics["latency<=0.1"].counts == (100, 60, 20, 10)
    assert closed.metrics["latency<=0.25"].counts == (100, 10, 20, 5)
    assert closed.metrics["latency<=0.25"].challenger == {"new": (20, 5)}


def test_a_pod_that_has_not_answered_anybody_yet_has_no_slow_ones() -> None:
    closed = bucket((FIRST, THEN), (Reading({}), read(ms100=3, ms250=3, all=4)))

    assert closed.metrics["latency<=0.25"].counts == (100, 10, 4, 1)


def test_a_histogram_that_began_anew_has_counted_what_it_shows() -> None:
    restarted = replace(NEW, started_at=START + 5, restarts=1)

    closed = bucket((FIRST, THEN), (FIRST, read(ms100=3, ms250=3, all=4)), restarted)

    assert closed.metrics["latency<=0.25"].counts == (100, 10, 4, 1)


def test_other_boundaries_in_the_challenger_cannot_be_compared() -> None:
    other = read(ms100=1, ms500=2, all=3)

    closed = bucket((FIRST, THEN), (Reading({}), other))

    assert closed.reason is EvidenceReason.MALFORMED
    assert "change boundaries in a release of their own" in closed.message
    assert closed.metrics["latency"].counts is None
    assert closed.challenger_restarted


def test_more_boundaries_in_the_challenger_do_no_harm() -> None:
    more = read(ms100=1, ms250=2, ms500=2, all=3)

    closed = bucket((FIRST, THEN), (Reading({}), more))

    assert closed.metrics["latency<=0.25"].counts == (100, 10, 3, 1)


def test_a_boundary_that_grew_less_than_a_lower_one_is_no_value() -> None:
    closed = bucket((FIRST, THEN), (FIRST, read(ms100=95, ms250=95, all=200)))

    assert closed.reason is EvidenceReason.MALFORMED
    assert closed.metrics.keys() == {"latency"}


def test_the_champions_shares_are_known_after_a_hundred_requests() -> None:
    baseline = Baseline(["latency"])
    baseline.add(bucket((FIRST, read(ms100=60, ms250=100, all=150)), (FIRST, FIRST)))
    assert baseline.slower("latency") == {}

    baseline.add(bucket((FIRST, THEN), (FIRST, FIRST)))

    assert baseline.slower("latency") == {
        "latency<=0.1": pytest.approx(100.5 / 151),
        "latency<=0.25": pytest.approx(50.5 / 151),
    }
    assert baseline.dispersion("latency<=0.1").phi >= 1


def test_a_version_with_other_boundaries_has_a_past_of_its_own() -> None:
    baseline = Baseline(["latency"])
    baseline.add(bucket((FIRST, THEN), (FIRST, FIRST)))
    baseline.add(
        bucket((read(ms500=0, all=0), read(ms500=99, all=200)), (Reading({}), Reading({})))
    )

    assert baseline.slower("latency") == {"latency<=0.5": pytest.approx(101.5 / 201)}
