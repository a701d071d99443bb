"""Closed buckets: what pods do to their counters, and what becomes of it."""

import math
from dataclasses import replace

import pytest

from shieldx.signals.baseline import Baseline
from shieldx.signals.buckets import Bucket, EvidenceReason, EvidenceState, Recorder
from shieldx.signals.readings import Pod, PodReadings, Problem, Reading, Scrape, Trouble, reading

START = 1_000_000.0
TEN = 10.0


def pod(uid: str, started_at: float = 0.0, restarts: int = 0) -> Pod:
    return Pod(uid, uid, "10.0.0.1", started_at, restarts, ready=True)


def seen(it: Pod, value: Reading | Problem) -> dict[str, PodReadings]:
    return {it.uid: PodReadings(it, {"errors": value})}


def bucket(first: Scrape, second: Scrape) -> Bucket:
    recorder = Recorder(["errors"], TEN)
    recorder.add(first, START)
    recorder.add(second, START + TEN)
    (closed,) = recorder.closed()
    return closed


OLD = pod("old")
CHAMPION_BEFORE = seen(OLD, Reading(100, 10))
CHAMPION_AFTER = seen(OLD, Reading(180, 11))


def challenger(
    before: dict[str, PodReadings], after: dict[str, PodReadings]
) -> tuple[float, float, float, float] | None:
    closed = bucket(Scrape(CHAMPION_BEFORE, before), Scrape(CHAMPION_AFTER, after))
    return closed.metrics["errors"].counts


def test_a_bucket_holds_the_differences_of_both_arms() -> None:
    new = pod("new")

    assert challenger(seen(new, Reading(5, 1)), seen(new, Reading(25, 4))) == (80, 1, 20, 3)


def test_a_counter_that_fell_has_counted_what_it_shows() -> None:
    new = pod("new")

    assert challenger(seen(new, Reading(50, 9)), seen(new, Reading(20, 2))) == (80, 1, 20, 2)


def test_a_restart_is_a_reset_though_the_counter_has_passed_its_old_value() -> None:
    before, after = pod("new"), pod("new", started_at=START + 3, restarts=1)

    assert challenger(seen(before, Reading(5, 1)), seen(after, Reading(25, 4))) == (80, 1, 25, 4)


def test_a_pod_that_started_in_the_window_counts_from_zero() -> None:
    new = pod("new", started_at=START + 1)

    assert challenger({}, seen(new, Reading(7, 2))) == (80, 1, 7, 2)


def test_a_pod_of_unknown_past_is_left_out() -> None:
    known, unknown = pod("known"), pod("unknown", started_at=START - 60)
    before = seen(known, Reading(0, 0))

    after = {**seen(known, Reading(3, 0)), **seen(unknown, Reading(9000, 900))}
    assert challenger(before, after) == (80, 1, 3, 0)


def test_a_pod_that_has_gone_is_left_out() -> None:
    stays, goes = pod("stays"), pod("goes")
    before = {**seen(stays, Reading(0, 0)), **seen(goes, Reading(50, 0))}

    assert challenger(before, seen(stays, Reading(3, 1))) == (80, 1, 3, 1)


SILENCE = Problem(Trouble.NOT_SCRAPED, "no answer")
NO_SERIES = Problem(Trouble.NO_SERIES, "no such counter")


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_arm_is_not_judged_without_a_ready_pod_that_kept_silent(when: str) -> None:
    talks, mute = pod("talks"), pod("mute")
    heard = {**seen(talks, Reading(0, 0)), **seen(mute, Reading(0, 0))}
    missed = {**seen(talks, Reading(4, 1)), **seen(mute, SILENCE)}
    before, after = (missed, heard) if when == "before" else (heard, missed)

    closed = bucket(Scrape(CHAMPION_BEFORE, before), Scrape(CHAMPION_AFTER, after))

    assert (closed.state, closed.reason) == (
        EvidenceState.PROVIDER_ERROR,
        EvidenceReason.NOT_SCRAPED,
    )
    assert closed.metrics["errors"].counts is None


def test_a_silent_pod_that_is_not_ready_is_left_out() -> None:
    talks, starts = pod("talks"), replace(pod("starts"), ready=False)
    before = {**seen(talks, Reading(0, 0)), **seen(starts, SILENCE)}

    assert challenger(before, {**seen(talks, Reading(4, 1)), **seen(starts, SILENCE)}) == (
        80,
        1,
        4,
        1,
    )
    up = {**seen(talks, Reading(4, 1)), **seen(replace(starts, ready=True), Reading(9, 9))}
    assert challenger(before, up) == (80, 1, 4, 1)


def test_a_series_that_appears_has_counted_from_zero() -> None:
    new = pod("new")

    assert challenger(seen(new, NO_SERIES), seen(new, Reading(6, 2))) == (80, 1, 6, 2)


def test_a_pod_without_the_series_has_not_counted_where_others_have() -> None:
    busy, idle = pod("busy"), pod("idle")
    before = {**seen(busy, Reading(0, 0)), **seen(idle, NO_SERIES)}

    after = {**seen(busy, Reading(6, 2)), **seen(idle, NO_SERIES)}
    assert challenger(before, after) == (80, 1, 6, 2)


@pytest.mark.parametrize("after", [Reading(1020, 3), Reading(1003, 95), NO_SERIES])
def test_a_series_that_vanishes_or_runs_backwards_is_an_error_and_no_value(
    after: Reading | Problem,
) -> None:
    new = pod("new")

    closed = bucket(
        Scrape(CHAMPION_BEFORE, seen(new, Reading(1000, 90))),
        Scrape(CHAMPION_AFTER, seen(new, after)),
    )

    assert (closed.state, closed.reason) == (EvidenceState.PROVIDER_ERROR, EvidenceReason.MALFORMED)
    assert closed.metrics["errors"].counts is None


def test_a_restart_that_is_heard_of_late_does_not_count_twice() -> None:
    before, after = pod("new"), pod("new", started_at=START - 5, restarts=1)

    assert challenger(seen(before, Reading(5, 1)), seen(after, Reading(25, 4))) == (80, 1, 20, 3)


@pytest.mark.parametrize(
    ("before", "after", "state", "reason"),
    [
        ({}, {}, EvidenceState.INSUFFICIENT, EvidenceReason.NO_PODS),
        (
            seen(OLD, Reading(5, 1)),
            seen(OLD, Reading(5, 1)),
            EvidenceState.INSUFFICIENT,
            EvidenceReason.NO_TRAFFIC,
        ),
        (
            seen(OLD, Reading(5, 1)),
            seen(OLD, Problem(Trouble.NOT_SCRAPED, "refused")),
            EvidenceState.PROVIDER_ERROR,
            EvidenceReason.NOT_SCRAPED,
        ),
        (
            seen(OLD, NO_SERIES),
            seen(OLD, NO_SERIES),
            EvidenceState.PROVIDER_ERROR,
            EvidenceReason.NO_SERIES,
        ),
        (
            seen(OLD, Reading(5, 1)),
            seen(OLD, reading(math.nan, 0)),
            EvidenceState.PROVIDER_ERROR,
            EvidenceReason.MALFORMED,
        ),
    ],
)
def test_absence_is_a_state_and_never_a_value(
    before: dict[str, PodReadings],
    after: dict[str, PodReadings],
    state: EvidenceState,
    reason: EvidenceReason,
) -> None:
    closed = bucket(Scrape(CHAMPION_BEFORE, before), Scrape(CHAMPION_AFTER, after))

    assert (closed.state, closed.reason) == (state, reason)
    assert closed.metrics["errors"].counts is None


@pytest.mark.parametrize(("total", "bad"), [(-1, 0), (5, 6), (1e300, 0), (math.inf, 0), (3, -1)])
def test_nonsense_is_no_reading(total: float, bad: float) -> None:
    refused = reading(total, bad)

    assert isinstance(refused, Problem)
    assert refused.trouble is Trouble.MALFORMED


def test_restarts_are_counted_by_pod() -> None:
    calm, dies, late = pod("calm"), pod("dies", restarts=2), pod("late", START + 2, restarts=1)
    before = {**seen(calm, Reading(0, 0)), **seen(dies, Reading(0, 0))}
    after = {
        **seen(calm, Reading(1, 0)),
        **seen(replace(dies, restarts=3), Reading(1, 0)),
        **seen(late, Reading(1, 0)),
    }

    closed = bucket(Scrape(CHAMPION_BEFORE, before), Scrape(CHAMPION_AFTER, after))

    assert closed.restarts == (1, 0, 3, 2)
    assert closed.challenger_restarted


def test_what_was_not_seen_whole_is_skipped() -> None:
    recorder = Recorder(["errors"], TEN)
    scrape = Scrape(CHAMPION_BEFORE, CHAMPION_BEFORE)
    for at in (START, START + 10, START + 24, START + 30, START + 40.4, START + 50):
        recorder.add(scrape, at)

    assert [(b.start, b.end) for b in recorder.closed()] == [
        (START, START + 10),
        (START + 30, START + 40),
        (START + 40, START + 50),
    ]
    assert recorder.closed() == []


def test_the_next_round_is_due_at_the_next_boundary() -> None:
    recorder = Recorder(["errors"], TEN)

    assert recorder.next_scrape_at(START + 1) == START + 1
    recorder.add(Scrape({}, {}), START + 1)
    assert recorder.next_scrape_at(START + 1) == START + 10
    assert recorder.next_scrape_at(START + 15) == START + 20


def test_evidence_grows_old() -> None:
    recorder = Recorder(["errors"], TEN)
    assert recorder.evidence(START).reason is EvidenceReason.COLLECTING
    recorder.add(Scrape(CHAMPION_BEFORE, seen(pod("n"), Reading(0, 0))), START)
    recorder.add(Scrape(CHAMPION_AFTER, seen(pod("n"), Reading(9, 0))), START + TEN)

    assert recorder.evidence(START + 15).state is EvidenceState.SUFFICIENT
    assert recorder.evidence(START + 41).state is EvidenceState.STALE


def test_the_base_rate_is_the_champions_or_the_given_one() -> None:
    baseline = Baseline(["errors"])
    closed = bucket(Scrape(CHAMPION_BEFORE, {}), Scrape(CHAMPION_AFTER, {}))
    for _ in range(9):
        baseline.add(closed)
    assert baseline.base_rate("errors", 0.01) == 0.01

    baseline.add(closed)

    assert baseline.base_rate("errors", 0.01) == pytest.approx(10.5 / 801)
    assert baseline.dispersion("errors").phi >= 1
