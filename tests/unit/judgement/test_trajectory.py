"""The record of a run stays small, whatever it counts, and loses no request on the way."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from shieldx.judgement.trajectory import MOST_COUNTS, MOST_POINTS, Point, Trajectory

START = 1_800_000_000


def point(number: int, *, metrics: int = 1, dispersion: float = 1.0) -> Point:
    counts = {
        f"metric-{each}<=0.25": (500.0, 3.0, 100.0, 1.0, dispersion) for each in range(metrics)
    }
    return Point(START + 10.0 * number, "continue", 0.125, -1.5, counts)


def long(buckets: int, *, metrics: int = 1, at_once: int = 10) -> Trajectory:
    """Return the record of so many buckets, written so many at once."""
    trajectory = Trajectory({"metric-0<=0.25": 0.01})
    for first in range(0, buckets, at_once):
        more = [point(each, metrics=metrics) for each in range(first, first + at_once)]
        trajectory = trajectory.extended(more)
    return trajectory


def test_what_fits_is_kept_as_it_was() -> None:
    trajectory = long(MOST_POINTS)

    assert list(trajectory.points) == [point(each) for each in range(MOST_POINTS)]
    assert trajectory.thinned is None


def test_what_is_read_back_is_what_was_written() -> None:
    dispersion = 1.0 + 1 / 3
    points = [point(0, dispersion=dispersion), replace(point(1), harm_only=True, buckets=2)]
    trajectory = Trajectory({"metric-0<=0.25": 0.0123457}, tuple(points), START - 60)

    stored = json.loads(
        json.dumps(trajectory.render(), sort_keys=True)
    )  # As the API server has it.
    assert Trajectory.parse(stored) == trajectory


@pytest.mark.parametrize("buckets", [510, 2000, 8640])
def test_a_long_run_loses_resolution_and_no_request(buckets: int) -> None:
    trajectory = long(buckets)
    points = trajectory.points

    assert len(points) <= MOST_POINTS
    assert sum(each.buckets for each in points) == buckets
    sums = [sum(each.counts["metric-0<=0.25"][of] for each in points) for of in range(4)]
    assert sums == [500 * buckets, 3 * buckets, 100 * buckets, buckets]
    assert points[-1].end == START + 10 * (buckets - 1)
    assert all(early.end < late.end for early, late in pairwise(points))


def test_the_newest_are_whole_and_the_oldest_about_equally_coarse() -> None:
    points = long(8640).points
    older = [each.buckets for each in points[: len(points) // 2]]

    assert all(each.buckets == 1 for each in points[-MOST_POINTS // 4 :])
    assert max(older) <= 4 * sum(older) / len(older)


def test_it_is_said_what_was_thinned() -> None:
    trajectory = long(510)
    coarse = [each.buckets for each in trajectory.points if each.buckets > 1]

    assert trajectory.render()["thinned"] == (
        f"the oldest {sum(coarse)} buckets are summed up in {len(coarse)} points of up to 2"
    )


@pytest.mark.parametrize("metrics", [2, 30, 91])
def test_a_day_of_many_metrics_stays_well_below_what_an_object_may_be(metrics: int) -> None:
    trajectory = long(3000, metrics=metrics)

    assert len(trajectory.points) * metrics <= MOST_COUNTS + MOST_COUNTS // 10
    assert len(json.dumps(trajectory.render(), separators=(",", ":"))) < 500_000


def test_buckets_on_record_are_not_recorded_again() -> None:
    trajectory = long(20)

    assert trajectory.extended([point(each) for each in range(10, 30)]) == long(30)


def test_points_that_are_summed_up_prove_no_more_than_each() -> None:
    early = replace(point(0, dispersion=2.0), harm_only=True)
    late = replace(point(1), verdict="rollback", harm=5.0)
    both = early.followed_by(late)

    assert both.counts == {"metric-0<=0.25": (1000.0, 6.0, 200.0, 2.0, 2.0)}
    assert both.harm_only
    assert (both.end, both.verdict, both.harm) == (late.end, "rollback", 5.0)


def test_what_could_not_prove_safety_is_summed_up_apart_as_long_as_that_is_possible() -> None:
    few = [replace(point(each), harm_only=each in {10, 11}) for each in range(MOST_POINTS + 60)]
    points = Trajectory({}).extended(few).points
    assert sum(each.buckets for each in points if each.harm_only) == 2

    alternating = [replace(it, harm_only=at % 2 == 0) for at, it in enumerate(few)]
    assert len(Trajectory({}).extended(alternating).points) <= MOST_POINTS


def test_a_metric_that_was_counted_in_one_of_them_is_not_lost() -> None:
    other = replace(point(1), counts={"restarts": (3.0, 0.0, 1.0, 1.0)})

    assert point(0).followed_by(other).counts == {**point(0).counts, **other.counts}
