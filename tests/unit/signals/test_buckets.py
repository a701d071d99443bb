"""Closed buckets: what pods do to their counters, and what becomes of it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from shieldx.signals.baseline import Baseline
from shieldx.signals.buckets import Bucket, Recorder
from shieldx.signals.counts import DOUBTED_ROUNDS, MOST_GONE
from shieldx.signals.readings import (
    Pod,
    PodReadings,
    Problem,
    Reading,
    Scrape,
    Series,
    Trouble,
    reading,
)
from shieldx.signals.states import EvidenceReason, EvidenceState

START = 1_000_000.0
TEN = 10.0


def pod(uid: str, started_at: float = 0.0, restarts: int = 0) -> Pod:
    return Pod(uid, uid, "10.0.0.1", started_at, restarts, ready=True)


def read(total: float, bad: float) -> Reading:
    return Reading(
        {"code='200'": Series(total - bad, bad=False), "code='500'": Series(bad, bad=True)}
    )


def seen(it: Pod, value: Reading | Problem) -> dict[str, PodReadings]:
    return {it.uid: PodReadings(it, {"errors": value})}


def bucket(first: Scrape, second: Scrape) -> Bucket:
    recorder = Recorder(["errors"], TEN)
    recorder.add(first, START)
    recorder.add(second, START + TEN)
    (closed,) = recorder.closed()
    return closed


OLD = pod("old")
CHAMPION_BEFORE = seen(OLD, read(100, 10))
CHAMPION_AFTER = seen(OLD, read(180, 11))


def challenger(
    before: dict[str, PodReadings], after: dict[str, PodReadings]
) -> tuple[float, float, float, float] | None:
    closed = bucket(Scrape(CHAMPION_BEFORE, before), Scrape(CHAMPION_AFTER, after))
    return closed.metrics["errors"].counts


def test_a_bucket_holds_the_differences_of_both_arms() -> None:
    new = pod("new")

    assert challenger(seen(new, read(5, 1)), seen(new, read(25, 4))) == (80, 1, 20, 3)


def test_a_counter_that_fell_with_a_restart_has_counted_what_it_shows() -> None:
    before, after = pod("new"), pod("new", started_at=START + 3, restarts=1)

    assert challenger(seen(before, read(50, 9)), seen(after, read(20, 2))) == (80, 1, 20, 2)


@pytest.mark.parametrize("liar", ["champion", "challenger"])
def test_more_than_a_pod_can_have_served_is_no_value(liar: str) -> None:
    new, wild = pod("new"), read(2.0**32 + 100, 11)
    champion, tried = CHAMPION_AFTER, seen(new, read(25, 4))
    after = (
        Scrape(seen(OLD, wild), tried) if liar == "champion" else Scrape(champion, seen(new, wild))
    )

    closed = bucket(Scrape(CHAMPION_BEFORE, seen(new, read(5, 1))), after)

    assert (closed.state, closed.reason) == (EvidenceState.PROVIDER_ERROR, EvidenceReason.MALFORMED)
    assert "more than a pod can have served" in closed.message
    assert closed.metrics["errors"].counts is None


def test_of_a_pod_whose_restarts_nobody_knows_a_fall_tells_of_one() -> None:
    past = replace(pod("past"), watched=False)
    before, after = seen(past, read(50, 9)), seen(past, read(20, 2))

    closed = bucket(Scrape(CHAMPION_BEFORE, before), Scrape(CHAMPION_AFTER, after))

    assert closed.metrics["errors"].counts == (80, 1, 20, 2)
    assert closed.challenger_restarted


def closed_of(shown: Sequence[tuple[float, float]]) -> list[Bucket]:
    """Return the buckets of a challenger pod that never restarts and shows this, round by round."""
    recorder, new = Recorder(["errors"], TEN), pod("new")
    for number, (total, bad) in enumerate(shown):
        champion = seen(OLD, read(100 * number, number))
        recorder.add(Scrape(champion, seen(new, read(total, bad))), START + number * TEN)
    return recorder.closed()


def test_processes_that_answer_in_turn_each_with_its_own_counts_are_an_error_and_no_value() -> None:
    # As of a server whose workers share a port and do not add up what they count.
    turns = [(500, 50), (505, 50), (20, 2), (510, 51), (515, 51), (25, 3), (520, 52), (30, 3)]

    first, *others = closed_of(turns)
    assert first.metrics["errors"].counts == (100, 1, 5, 0)
    assert {it.metrics["errors"].counts for it in others} == {None}
    assert "they must show one sum" in others[-1].message


def test_what_went_backwards_once_is_believed_again_after_a_while() -> None:
    rounds = [(500, 50), *((10 * number, number) for number in range(1, DOUBTED_ROUNDS + 3))]

    counts = [it.metrics["errors"].counts for it in closed_of(rounds)]
    assert counts == [None] * (1 + DOUBTED_ROUNDS) + [(100, 1, 10, 1)]


def test_a_series_that_went_with_a_restart_is_a_reset_though_others_have_passed_it() -> None:
    before, after = pod("new"), pod("new", started_at=START + 3, restarts=1)
    grown = Reading({"code='200'": Series(25, bad=False)})

    assert challenger(seen(before, read(5, 1)), seen(after, grown)) == (80, 1, 25, 0)


def test_a_restarted_container_beside_the_app_does_not_make_the_past_new() -> None:
    before, after = pod("new"), pod("new", started_at=START + 3, restarts=1)

    assert challenger(seen(before, read(90_000, 40)), seen(after, read(90_010, 41))) == (
        80,
        1,
        10,
        1,
    )


def test_a_series_that_goes_is_no_reset() -> None:
    new = pod("new")
    before = Reading({"path='/a'": Series(5000, bad=False), "path='/b'": Series(70, bad=False)})

    after = Reading({"path='/b'": Series(77, bad=False)})
    assert challenger(seen(new, before), seen(new, after)) == (80, 1, 7, 0)


@pytest.mark.parametrize(("again", "counted"), [(5003, 3), (2, 2)])
def test_a_series_that_comes_back_has_not_counted_its_past_again(again: int, counted: int) -> None:
    recorder, new = Recorder(["errors"], TEN), pod("new")
    ok, failed = Series(0, bad=False), Series(5000, bad=True)
    rounds = [{"a": ok, "b": failed}, {"a": ok}, {"a": ok}, {"a": ok, "b": Series(again, bad=True)}]
    for number, series in enumerate(rounds):
        champion = seen(OLD, read(100 * number, number))
        recorder.add(Scrape(champion, seen(new, Reading(series))), START + number * TEN)

    last = recorder.closed()[-1].metrics["errors"]
    assert last.counts == (100, 1, counted, counted)


def test_nor_has_one_that_comes_back_after_a_silence() -> None:
    recorder, new = Recorder(["errors"], TEN), pod("new")
    ok, failed = Series(0, bad=False), Series(5000, bad=True)
    silent = Problem(Trouble.NOT_SCRAPED, "silence")
    rounds: list[Reading | Problem] = [
        Reading({"a": ok, "b": failed}),
        silent,
        silent,
        Reading({"a": ok}),
        Reading({"a": ok, "b": Series(5003, bad=True)}),
    ]
    for number, value in enumerate(rounds):
        champion = seen(OLD, read(100 * number, number))
        recorder.add(Scrape(champion, seen(new, value)), START + number * TEN)

    assert recorder.closed()[-1].metrics["errors"].counts == (100, 1, 3, 3)


def test_of_series_that_are_gone_no_memory_is_filled() -> None:
    recorder = Recorder(["errors"], TEN)
    for number in range(100):
        churn = {f"{number}-{at}": Series(1, bad=False) for at in range(50)}
        recorder.add(Scrape(seen(OLD, Reading(churn)), {}), START + number * TEN)

    assert recorder._last is not None
    kept = recorder._last[1].champion["old"].readings["errors"]
    assert isinstance(kept, Reading)
    assert len(kept.gone) == MOST_GONE


def test_the_first_failure_of_a_running_pod_counts() -> None:
    new = pod("new")
    before = Reading({"code='200'": Series(50, bad=False)})

    assert challenger(seen(new, before), seen(new, read(53, 1))) == (80, 1, 3, 1)
    assert challenger(seen(new, Reading({})), seen(new, read(4, 1))) == (80, 1, 4, 1)


def test_a_pod_that_started_in_the_window_counts_from_zero() -> None:
    new = pod("new", started_at=START + 1)

    assert challenger({}, seen(new, read(7, 2))) == (80, 1, 7, 2)


def test_a_pod_of_unknown_past_is_left_out() -> None:
    known, unknown = pod("known"), pod("unknown", started_at=START - 60)
    before = seen(known, read(0, 0))

    after = {**seen(known, read(3, 0)), **seen(unknown, read(9000, 900))}
    assert challenger(before, after) == (80, 1, 3, 0)


def test_a_pod_that_has_gone_is_left_out() -> None:
    stays, goes = pod("stays"), pod("goes")
    before = {**seen(stays, read(0, 0)), **seen(goes, read(50, 0))}

    assert challenger(before, seen(stays, read(3, 1))) == (80, 1, 3, 1)


TALKS, MUTE = pod("talks"), pod("mute")
BOTH_BEFORE = {**seen(TALKS, read(0, 0)), **seen(MUTE, read(0, 0))}
ONE_SILENT = {
    **seen(TALKS, read(4, 1)),
    **seen(MUTE, Problem(Trouble.NOT_SCRAPED, "mute does not answer")),
}


def test_with_a_silent_challenger_pod_the_others_can_prove_harm_and_not_safety() -> None:
    closed = bucket(Scrape(CHAMPION_BEFORE, BOTH_BEFORE), Scrape(CHAMPION_AFTER, ONE_SILENT))

    assert closed.metrics["errors"].counts == (80, 1, 4, 1)
    assert closed.challenger_restarted
    assert (closed.state, closed.reason) == (
        EvidenceState.PROVIDER_ERROR,
        EvidenceReason.NOT_SCRAPED,
    )
    assert closed.message == "mute does not answer"


@pytest.mark.parametrize("turn", [1, -1])
def test_without_a_ready_pod_of_the_champion_nothing_is_compared(turn: int) -> None:
    fresh = {**ONE_SILENT, **seen(TALKS, read(0, 0))}
    before, after = (BOTH_BEFORE, fresh)[::turn]

    closed = bucket(Scrape(before, CHAMPION_BEFORE), Scrape(after, CHAMPION_AFTER))

    assert closed.metrics["errors"].counts is None
    assert (closed.state, closed.reason) == (
        EvidenceState.PROVIDER_ERROR,
        EvidenceReason.NOT_SCRAPED,
    )


@pytest.mark.parametrize("after", [(1020, 3), (1003, 95), (20, 3), None])
def test_series_that_go_or_run_backwards_without_a_restart_are_an_error_and_no_value(
    after: tuple[float, float] | None,
) -> None:
    value = Reading({}) if after is None else read(*after)

    closed = bucket(
        Scrape(CHAMPION_BEFORE, seen(OLD, read(1000, 90))), Scrape(CHAMPION_AFTER, seen(OLD, value))
    )

    assert (closed.state, closed.reason) == (EvidenceState.PROVIDER_ERROR, EvidenceReason.MALFORMED)
    assert closed.metrics["errors"].counts is None


def test_a_restart_that_is_heard_of_late_does_not_count_twice() -> None:
    before, after = pod("new"), pod("new", started_at=START - 5, restarts=1)

    assert challenger(seen(before, read(5, 1)), seen(after, read(25, 4))) == (80, 1, 20, 3)


def test_a_restart_is_seen_in_the_samples_after_the_round_that_knew_of_it() -> None:
    # Both rounds know of the restart; the first reading is of the process before it.
    new = pod("new", started_at=START - 1, restarts=1)
    older = replace(read(50, 9), taken_at=START - 5)

    closed = bucket(
        Scrape(CHAMPION_BEFORE, seen(new, older)), Scrape(CHAMPION_AFTER, seen(new, read(70, 4)))
    )

    assert closed.metrics["errors"].counts == (80, 1, 70, 4)
    assert closed.challenger_restarted


def test_a_node_whose_clock_is_ahead_makes_no_restart_of_every_bucket() -> None:
    ahead = pod("new", started_at=START + 3600)

    closed = bucket(
        Scrape(CHAMPION_BEFORE, seen(ahead, read(5, 1))),
        Scrape(CHAMPION_AFTER, seen(ahead, read(25, 4))),
    )

    assert closed.metrics["errors"].counts == (80, 1, 20, 3)
    assert not closed.challenger_restarted
    assert closed.joined == -math.inf


def test_a_bucket_begins_with_the_oldest_of_its_samples() -> None:
    older = replace(read(5, 1), taken_at=START - 7)

    closed = bucket(
        Scrape(CHAMPION_BEFORE, seen(OLD, older)), Scrape(CHAMPION_AFTER, seen(OLD, read(9, 1)))
    )

    assert (closed.start, closed.end) == (START - 7, START + TEN)


def test_a_round_may_wait_a_quarter_of_a_bucket_and_never_long() -> None:
    assert Recorder(["errors"], TEN).may_wait_until(START + 2.4)
    assert not Recorder(["errors"], TEN).may_wait_until(START + 2.6)
    assert Recorder(["errors"], 200).may_wait_until(START + 9.9)
    assert not Recorder(["errors"], 200).may_wait_until(START + 10.1)


def test_a_pod_that_has_not_counted_yet_is_no_problem_where_others_have() -> None:
    after = {**seen(TALKS, read(4, 1)), **seen(MUTE, Reading({}))}
    before = {**seen(TALKS, read(0, 0)), **seen(MUTE, Reading({}))}

    assert challenger(before, after) == (80, 1, 4, 1)


def test_a_pod_that_does_not_serve_may_be_silent() -> None:
    asleep = replace(MUTE, ready=False)
    silence = Problem(Trouble.NOT_SCRAPED, "refused")
    before = {**seen(TALKS, read(0, 0)), **seen(asleep, silence)}
    after = {**seen(TALKS, read(4, 1)), **seen(asleep, silence)}

    closed = bucket(Scrape(CHAMPION_BEFORE, before), Scrape(CHAMPION_AFTER, after))

    assert closed.state is EvidenceState.SUFFICIENT
    assert not closed.challenger_restarted


def test_a_pod_that_comes_up_is_not_yet_whole_and_no_problem() -> None:
    starts = replace(MUTE, ready=False)
    before = {
        **seen(TALKS, read(0, 0)),
        **seen(starts, Problem(Trouble.NOT_SCRAPED, "refused")),
    }
    after = {**seen(TALKS, read(4, 1)), **seen(MUTE, read(9, 9))}

    closed = bucket(Scrape(CHAMPION_BEFORE, before), Scrape(CHAMPION_AFTER, after))

    assert closed.metrics["errors"].counts == (80, 1, 4, 1)
    assert closed.state is EvidenceState.SUFFICIENT
    assert closed.challenger_restarted


@pytest.mark.parametrize(
    ("after", "lost"),
    [
        (seen(TALKS, read(4, 1)), True),
        ({**seen(TALKS, read(4, 1)), **seen(MUTE, read(1, 0))}, False),
        (
            {
                **seen(TALKS, read(4, 1)),
                **seen(MUTE, read(1, 0)),
                **seen(pod("x", START - 60), read(9, 9)),
            },
            True,
        ),
    ],
)
def test_counts_that_a_challenger_pod_took_with_it_are_known_to_be_missing(
    after: dict[str, PodReadings],
    lost: bool,  # noqa: FBT001 - a column of the table.
) -> None:
    closed = bucket(Scrape(CHAMPION_BEFORE, BOTH_BEFORE), Scrape(CHAMPION_AFTER, after))

    assert closed.challenger_restarted is lost
    assert closed.state is EvidenceState.SUFFICIENT


def test_a_second_round_at_one_boundary_begins_no_other_bucket() -> None:
    recorder = Recorder(["errors"], TEN)
    recorder.add(Scrape(CHAMPION_BEFORE, seen(TALKS, read(0, 0))), START)
    recorder.add(Scrape(CHAMPION_AFTER, seen(TALKS, read(5, 0))), START + 1)
    recorder.add(Scrape(CHAMPION_AFTER, seen(TALKS, read(9, 0))), START + TEN)

    (closed,) = recorder.closed()
    assert closed.metrics["errors"].counts == (80, 1, 9, 0)


@pytest.mark.parametrize(
    ("before", "after", "state", "reason"),
    [
        ({}, {}, EvidenceState.INSUFFICIENT, EvidenceReason.NO_PODS),
        ({}, seen(OLD, read(5, 1)), EvidenceState.INSUFFICIENT, EvidenceReason.COLLECTING),
        (
            seen(OLD, read(5, 1)),
            seen(OLD, read(5, 1)),
            EvidenceState.INSUFFICIENT,
            EvidenceReason.NO_TRAFFIC,
        ),
        (
            seen(OLD, read(5, 1)),
            seen(OLD, Problem(Trouble.NOT_SCRAPED, "refused")),
            EvidenceState.PROVIDER_ERROR,
            EvidenceReason.NOT_SCRAPED,
        ),
        (
            seen(OLD, read(5, 1)),
            seen(OLD, Problem(Trouble.NO_LABEL, "no label")),
            EvidenceState.PROVIDER_ERROR,
            EvidenceReason.NO_LABEL,
        ),
        (
            seen(OLD, Reading({})),
            seen(OLD, Reading({})),
            EvidenceState.INSUFFICIENT,
            EvidenceReason.NO_SERIES,
        ),
        (
            seen(replace(OLD, ready=False), Problem(Trouble.NOT_SCRAPED, "refused")),
            seen(replace(OLD, ready=False), Problem(Trouble.NOT_SCRAPED, "refused")),
            EvidenceState.INSUFFICIENT,
            EvidenceReason.NO_PODS,
        ),
        (
            seen(OLD, read(5, 1)),
            seen(OLD, reading({"": Series(math.nan, bad=False)})),
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


@pytest.mark.parametrize("value", [-1.0, 0.5, 1e300, math.inf, -math.inf, math.nan])
def test_one_nonsensical_series_makes_no_reading(value: float) -> None:
    refused = reading({"a": Series(10, bad=False), "b": Series(value, bad=True)})

    assert isinstance(refused, Problem)
    assert refused.trouble is Trouble.MALFORMED


def test_nonsense_in_one_pod_leaves_the_bucket_without_any_value() -> None:
    after = {**ONE_SILENT, **seen(MUTE, Problem(Trouble.MALFORMED, "nonsense"))}

    closed = bucket(Scrape(CHAMPION_BEFORE, BOTH_BEFORE), Scrape(CHAMPION_AFTER, after))

    metric = closed.metrics["errors"]
    assert (metric.counts, metric.champion, metric.challenger) == (None, {}, {})
    assert closed.reason is EvidenceReason.MALFORMED


def test_restarts_are_counted_by_pod() -> None:
    calm, dies, late = pod("calm"), pod("dies", restarts=2), pod("late", START + 2, restarts=1)
    before = {**seen(calm, read(0, 0)), **seen(dies, read(0, 0))}
    after = {
        **seen(calm, read(1, 0)),
        **seen(replace(dies, restarts=3), read(1, 0)),
        **seen(late, read(1, 0)),
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
    recorder.add(Scrape(CHAMPION_BEFORE, seen(pod("n"), read(0, 0))), START)
    recorder.add(Scrape(CHAMPION_AFTER, seen(pod("n"), read(9, 0))), START + TEN)

    assert recorder.evidence(START + 15).state is EvidenceState.SUFFICIENT
    assert recorder.evidence(START + 41).state is EvidenceState.STALE
    # The status that shows it is not written anew for nothing but the passing of time.
    assert recorder.evidence(START + 41) == recorder.evidence(START + 99)


def test_the_base_rate_is_the_champions_or_the_given_one() -> None:
    baseline = Baseline(["errors"])
    closed = bucket(Scrape(CHAMPION_BEFORE, {}), Scrape(CHAMPION_AFTER, {}))
    for _ in range(9):
        baseline.add(closed)
    assert baseline.base_rate("errors", 0.01) == 0.01

    baseline.add(closed)

    assert baseline.base_rate("errors", 0.01) == pytest.approx(10.5 / 801)
    assert baseline.dispersion("errors").phi >= 1


def hour_of(rates: list[int]) -> Baseline:
    """A champion that fails `rates[k]` of 100 requests in bucket k."""
    baseline = Baseline(["errors"])
    total = bad = 0
    recorder = Recorder(["errors"], TEN)
    for k, failed in enumerate([*rates, 0]):
        recorder.add(Scrape(seen(OLD, read(total, bad)), {}), START + k * TEN)
        total, bad = total + 100, bad + failed
    for closed in recorder.closed():
        baseline.add(closed)
    return baseline


def test_the_base_rate_forgets_what_is_older_than_an_hour() -> None:
    baseline = hour_of([50] * 360 + [1] * 360)

    assert baseline.base_rate("errors", 0.5) == pytest.approx(0.01, rel=0.02)


def test_the_scatter_of_the_past_is_where_phi_starts() -> None:
    baseline = Baseline(["errors"])
    recorder = Recorder(["errors"], TEN)
    for k in range(21):
        # One of two pods fails 40 of 100 in every second bucket, the other never does.
        noisy = {**seen(pod("a"), read(100 * k, 40 * (k // 2))), **seen(pod("b"), read(100 * k, 0))}
        recorder.add(Scrape(noisy, {}), START + k * TEN)
    for closed in recorder.closed():
        baseline.add(closed)

    assert baseline.dispersion("errors").phi > 10
