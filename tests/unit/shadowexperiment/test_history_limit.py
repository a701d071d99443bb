"""Old records go; how often a revision was tried does not go with them."""

import pytest

from controllers.shadowexperiment.progress import ATTEMPTS_KEPT, Progress
from tests.support.experiments import World


async def tried(world: World, *images: str) -> None:
    for image in images:
        world.release(image)
        await world.until("RolledBack")


async def idle(limit: int) -> World:
    world = World()
    world.edit(runHistoryLimit=limit)
    await world.until("Idle")
    await world.rest(passes=20)
    return world


def names(world: World) -> list[str]:
    return sorted(run["metadata"]["name"] for run in world.runs)


async def test_the_oldest_records_are_removed_when_another_run_begins() -> None:
    world = await idle(limit=2)
    await tried(world, "bad")
    (first,) = names(world)
    await tried(world, "worse")
    assert len(names(world)) == 2
    await tried(world, "worst")

    assert len(names(world)) == 2
    assert first not in names(world)


async def test_a_revision_whose_record_is_gone_may_risk_no_more_for_it() -> None:
    world = await idle(limit=1)
    await tried(world, "bad", "worse", "bad")

    assert len(world.runs) == 1
    assert world.status["attempt"] == 1
    assert "needed 200" in world.status["decision"]


async def test_nor_by_another_experiment_which_has_only_the_records_to_know_by() -> None:
    world = await idle(limit=1)
    await tried(world, "bad", "worse")
    world.release("v1")
    await world.until("Idle")
    await world.recreate("another")
    await world.until("Idle")
    await world.rest(passes=20)
    await tried(world, "bad")

    assert [run["spec"]["attempt"] for run in world.runs] == [1]
    assert world.status["attempt"] == 1


async def test_an_operator_that_dies_while_it_removes_forgets_nothing() -> None:
    undisturbed = await idle(limit=1)
    before = len(undisturbed.cluster.writes)
    await tried(undisturbed, "bad", "worse", "bad")
    writes = undisturbed.cluster.writes[before:]
    around = [
        at
        for at, write in enumerate(writes, start=1)
        if write.startswith(("create ExperimentRun", "delete ExperimentRun"))
    ]
    assert len(around) == 5

    for write in sorted({at + more for at in around for more in (-1, 0)}):
        world = await idle(limit=1)
        world.cluster.die_after = len(world.cluster.writes) + write
        await tried(world, "bad", "worse", "bad")
        assert world.status["attempt"] == 1, writes[write - 1]


@pytest.mark.parametrize("revisions", [3, ATTEMPTS_KEPT + 5])
def test_attempts_are_kept_of_what_was_tried_last(revisions: int) -> None:
    records = [{f"r{each}": 1} for each in range(revisions)]
    known = Progress(attempts=(("r0", 2),)).knowing(records)

    assert known.runs_of("r0") == 2
    assert known.attempts[-1] == ("r0", 2)  # The experiment itself tried it last.
