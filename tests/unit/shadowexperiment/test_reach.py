"""Whether requests reach the challenger: what is so now, and no back and forth by chance."""

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest

from controllers.shadowexperiment.reach import Reach, Reached
from shieldx.signals.buckets import Bucket, MetricBucket
from shieldx.signals.states import EvidenceReason, EvidenceState
from tests.support.experiments import World
from tests.support.fake_cluster import Json

UNSEEN = None


def bucket(champion: float, challenger: float | None) -> Bucket:
    """Return a bucket with so many requests, or one of a source that is down."""
    pods = {"a": (champion, 0.0)}, {"b": (challenger or 0.0, 0.0)}
    if challenger is None:
        why = EvidenceState.PROVIDER_ERROR, EvidenceReason.NOT_SCRAPED
        metric = MetricBucket({}, {}, None, *why, "down")
    elif champion and challenger:
        why = EvidenceState.SUFFICIENT, EvidenceReason.COUNTED
        metric = MetricBucket(*pods, (champion, 0.0, challenger, 0.0), *why, "counted")
    else:
        why = EvidenceState.INSUFFICIENT, EvidenceReason.NO_TRAFFIC
        metric = MetricBucket(*pods, None, *why, "no request")
    return Bucket(0.0, 10.0, {"errors": metric}, (1, 0, 1, 0))


def seen(requests: Iterable[float | None], *, champion: float = 100) -> list[Reached]:
    """Return what is known after each bucket with so many requests of the challenger."""
    reach, known = Reach(), []
    for each in requests:
        reach = reach.after(bucket(champion, each))
        assert Reach.parse(reach.render()).reached is reach.reached
        known.append(reach.reached)
    return known


def test_a_challenger_that_gets_requests_is_reached_at_once() -> None:
    assert seen([25]) == [Reached.YES]


def test_one_that_gets_none_is_called_so_after_three_buckets() -> None:
    assert seen([0, 0, 0, 25]) == [Reached.UNSEEN, Reached.UNSEEN, Reached.NO, Reached.YES]


def test_one_that_gets_none_any_more_is_called_so_after_three_buckets() -> None:
    assert seen([25] * 20 + [0, 0, 0])[-3:] == [Reached.YES, Reached.YES, Reached.NO]


def test_where_the_champion_has_none_either_nobody_is_to_blame() -> None:
    assert seen([25, 0, 0, 0], champion=0)[-1] is Reached.NOBODY
    assert seen([0, 0, 0], champion=0)[-1] is Reached.NOBODY


def test_what_nobody_saw_is_neither_traffic_nor_silence() -> None:
    assert seen([25, UNSEEN, UNSEEN])[-1] is Reached.YES
    assert seen([25, UNSEEN, UNSEEN, UNSEEN])[-1] is Reached.UNSEEN
    assert seen([25, 0, UNSEEN, 0])[-1] is Reached.YES
    assert seen([25, 0, UNSEEN, 0, 0])[-1] is Reached.NO
    assert seen([25, 0, 0, 0, UNSEEN, UNSEEN])[-1] is Reached.NO


def test_little_traffic_that_goes_on_is_not_taken_for_silence() -> None:
    chance = random.Random(11)
    known = seen([float(chance.random() < 0.2) for _ in range(2000)])

    assert Reached.YES in known
    assert changes(known[known.index(Reached.YES) :]) <= 4


def test_traffic_that_dwindles_makes_it_change_its_mind_only_a_few_times() -> None:
    chance = random.Random(12)
    known = seen([*[100.0] * 500, *(float(chance.random() < 0.1) for _ in range(1000))])

    assert changes(known) <= 8


def changes(known: list[Reached]) -> int:
    return sum(one is not other for one, other in pairwise(known))


@pytest.mark.parametrize("image", ["v2", "bad"])
async def test_when_it_is_over_no_challenger_is_measured(image: str) -> None:
    world = await measured(image)
    await world.until("Promoted", "RolledBack")

    said = condition(world)
    assert (said["status"], said["reason"]) == ("Unknown", "NoTrial")


async def test_a_challenger_that_requests_no_longer_reach_is_named() -> None:
    world = await measured()
    since = condition(world)["lastTransitionTime"]
    world.unreached.add("v2")
    await world.rest(passes=30)

    said = condition(world)
    assert (said["status"], said["reason"]) == ("False", "NoLongerReached")
    assert said["message"].startswith("the challenger had no request in the last ")
    assert said["lastTransitionTime"] > since
    assert world.phase == "Stepping"

    world.unreached.clear()
    await world.rest(passes=8)
    assert condition(world)["status"] == "True"


async def test_an_operator_that_begins_anew_says_what_the_one_before_it_said() -> None:
    world = await measured()
    world.unreached.add("v2")
    await world.rest(passes=30)
    before = condition(world)
    world.die()
    await world.rest(passes=3)

    assert condition(world)["lastTransitionTime"] == before["lastTransitionTime"]
    assert condition(world)["status"] == "False"


async def test_without_a_source_it_is_not_known() -> None:
    world = await measured()
    world.silent = True
    await world.rest(passes=40)

    said = condition(world)
    assert (said["status"], said["reason"]) == ("Unknown", "NotMeasured")
    assert "did not answer" in said["message"]


async def test_a_pause_is_called_so() -> None:
    world = await measured()
    world.edit(paused=True)
    await world.until("Paused")

    said = condition(world)
    assert (said["status"], said["reason"]) == ("Unknown", "Paused")
    assert "keeps its pods" in said["message"]


async def measured(image: str = "v2") -> World:
    """Return a world in which requests were seen to reach a challenger."""
    world = World()
    await world.until("Idle")
    await world.rest(passes=20)
    world.release(image)
    for _ in range(100):
        await world.step()
        if world.status.get("samples"):
            break
    assert condition(world)["reason"] == "Reached"
    return world


def condition(world: World) -> Json:
    (found,) = (it for it in world.status["conditions"] if it["type"] == "TrafficVerified")
    return dict(found)
