"""Deleting an experiment puts things back, and never rolls out what was not approved."""

from controllers.shadowexperiment.act import release
from controllers.shadowexperiment.manifests import Names
from tests.support.experiments import NAME, NAMESPACE, TARGET, World, template

NAMES = Names(NAMESPACE, NAME, TARGET)


async def let_go(world: World) -> str:
    uid = world.experiment["metadata"]["uid"]
    return await release(world.api, NAMES, uid, world.status)


async def trial_until(phase: str, image: str) -> World:
    world = World()
    await world.until("Idle")
    await world.rest(passes=20)
    world.release(image)
    await world.until(phase)
    return world


async def test_an_idle_target_loses_its_label_and_nothing_else() -> None:
    world = World()
    await world.until("Idle")
    before = world.target["spec"]

    assert await let_go(world) == "Deployment shop is as it was without the experiment"
    assert world.target["spec"] == before
    assert world.target["metadata"]["labels"] == {}


async def test_an_undecided_target_stays_paused_and_is_told_how_to_go_on() -> None:
    world = await trial_until("Stepping", "v2")
    message = await let_go(world)

    assert "kubectl rollout resume deployment/shop" in message
    assert world.target["spec"]["paused"] is True
    assert world.challenger is None
    (run,) = world.runs
    assert run["status"]["outcome"] == "Withdrawn"


async def test_a_refused_target_stays_paused() -> None:
    world = await trial_until("RolledBack", "bad")
    await let_go(world)

    assert world.target["spec"]["paused"] is True
    assert world.runs[0]["status"]["outcome"] == "RolledBack"


async def test_a_target_that_is_being_promoted_goes_on() -> None:
    world = await trial_until("Promoting", "v2")
    world.target["spec"]["paused"] = True
    world.target["metadata"].setdefault("annotations", {})["shieldx.io/held-by"] = NAME
    await let_go(world)

    assert "paused" not in world.target["spec"]


async def test_a_target_that_git_has_put_back_goes_on() -> None:
    world = await trial_until("Stepping", "v2")
    world.release("v1")
    await let_go(world)

    assert "paused" not in world.target["spec"]


async def test_a_target_that_a_person_paused_stays_paused() -> None:
    world = World()
    await world.until("Idle")
    world.target["spec"]["paused"] = True
    await let_go(world)

    assert world.target["spec"]["paused"] is True


async def test_a_target_that_is_gone_is_no_trouble() -> None:
    world = await trial_until("Stepping", "v2")
    await world.cluster.delete("apps/v1", "Deployment", None, TARGET)

    assert "is not there" in await let_go(world)
    assert world.challenger is None


async def test_a_deployment_of_somebody_else_is_not_deleted() -> None:
    world = World()
    world.cluster.put(
        {
            "kind": "Deployment",
            "metadata": {"name": "shop-challenger"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "other"}},
                "template": template("v1"),
            },
        }
    )
    await world.until("Invalid")
    await world.rest()

    assert "is not this experiment's" in world.status["decision"]
    await let_go(world)
    assert world.challenger is not None
