"""Whole trials against a cluster in memory; and an operator that dies after any of its writes."""

from collections.abc import Mapping

import pytest

from tests.support.experiments import SPEC, World
from tests.support.fake_cluster import Json


async def idle() -> World:
    world = World()
    await world.until("Idle")
    await world.rest(passes=20)
    return world


async def test_the_target_is_labelled_before_the_experiment_is_idle() -> None:
    world = World()
    await world.step()

    assert world.phase == "None"
    assert world.target["metadata"]["labels"]["shieldx.io/experiment"] == "trial"


async def test_an_idle_experiment_rests() -> None:
    world = await idle()
    writes = len(world.cluster.writes)
    await world.rest()

    assert len(world.cluster.writes) == writes


async def test_a_good_version_is_promoted_step_by_step() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Promoted")

    assert world.phases_seen[-4:] == ["Preparing", "Stepping", "Promoting", "Promoted"]
    assert world.replicas_seen == [0, 1, 3, 0]
    assert world.serving == {"v2"}
    assert "paused" not in world.target["spec"]
    assert world.status["decision"].startswith("Promoted: no guardrail is worse than its margin")
    (run,) = world.runs
    assert run["status"]["outcome"] == "Promoted"
    assert run["status"]["decision"] == world.status["decision"]


async def test_a_bad_version_is_rolled_back_and_stays_refused() -> None:
    world = await idle()
    world.release("bad")
    await world.until("RolledBack")
    await world.rest()

    assert world.phase == "RolledBack"
    assert world.replicas_seen == [0, 1, 0]
    assert world.serving == {"v1"}
    assert world.target["spec"]["paused"] is True
    assert world.status["decision"].startswith("Rolled back: errors got worse than tolerated")
    (run,) = world.runs
    assert run["status"]["outcome"] == "RolledBack"


async def test_a_revert_of_a_refused_version_resumes_by_itself() -> None:
    world = await idle()
    world.release("bad")
    await world.until("RolledBack")
    world.release("v1")
    await world.until("Idle")
    await world.rest()

    assert "paused" not in world.target["spec"]
    assert world.serving == {"v1"}
    assert world.phase == "Idle"


async def test_a_refused_version_that_git_asks_for_again_may_risk_half_as_much() -> None:
    world = await idle()
    for image in ("bad", "v1", "bad"):
        world.release(image)
        await world.until("Idle" if image == "v1" else "RolledBack")

    assert [run["spec"]["attempt"] for run in world.runs] == [0, 1]
    assert "needed 200" in world.status["decision"]


async def test_a_fix_after_a_refusal_is_tried_afresh() -> None:
    world = await idle()
    world.release("bad")
    await world.until("RolledBack")
    world.release("v2")
    await world.until("Promoted")

    assert world.serving == {"v2"}
    assert [run["status"]["outcome"] for run in world.runs] == ["RolledBack", "Promoted"]


async def test_a_new_version_in_the_middle_takes_the_weight_to_zero_first() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Stepping")
    world.release("v3")
    await world.until("Promoted")

    assert world.replicas_seen == [0, 1, 0, 1, 3, 0]
    assert [run["status"]["outcome"] for run in world.runs] == ["Withdrawn", "Promoted"]
    assert world.serving == {"v3"}


async def test_a_new_version_during_a_promotion_is_held_and_tried_next() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Promoting")
    world.release("bad")
    await world.until("RolledBack")

    assert [run["status"]["outcome"] for run in world.runs] == ["Promoted", "RolledBack"]
    assert world.target["spec"]["paused"] is True
    assert "bad" not in world.serving


async def test_a_version_that_never_gets_ready_fails_with_the_reason_of_its_pod() -> None:
    world = await idle()
    world.cluster.broken.add("v2")
    world.release("v2")
    await world.until("RolledBack")

    assert "progressDeadlineSeconds of 120: pod" in world.status["decision"]
    assert "is not ready" in world.status["decision"]
    assert world.runs[0]["status"]["outcome"] == "Failed"
    assert "Stepping" not in world.phases_seen


async def test_a_broken_champion_never_holds_up_its_fix() -> None:
    world = await idle()
    for pod in world.cluster.pods("shop"):
        pod["status"]["conditions"][0]["status"] = "False"
    world.cluster.settle()
    world.release("v2")
    world.cluster.settle()
    await world.until("Promoted")

    assert world.serving == {"v2"}
    assert world.status["decision"].startswith("Passed without a verdict")
    assert "the champion was not available" in world.status["decision"]
    assert world.runs[0]["status"]["outcome"] == "Passed"


async def test_a_restart_is_no_challenger() -> None:
    world = await idle()
    again = {**world.target["spec"]["template"]}
    again["metadata"] = {
        **again["metadata"],
        "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-03-01T12:00:00Z"},
    }
    world.cluster.change("shop", again)
    await world.rest()

    assert world.phase == "Idle"
    assert world.runs == []
    assert "paused" not in world.target["spec"]


async def test_a_rollout_that_a_person_resumes_is_recorded_as_passed() -> None:
    world = await idle()
    world.release("bad")
    await world.until("Stepping")
    del world.target["spec"]["paused"]
    world.cluster.put(world.target)
    await world.until("Promoted")

    assert "resumed by hand" in world.status["decision"]
    assert world.runs[0]["status"]["outcome"] == "Passed"


async def test_a_paused_experiment_keeps_its_weight_and_goes_on_where_it_was() -> None:
    world = await idle()
    world.release("bad")
    await world.until("Stepping")
    world.edit(paused=True)
    await world.until("Paused")
    await world.rest(passes=60)

    assert world.phase == "Paused"
    assert world.replicas_seen == [0, 1]

    world.edit(paused=False)
    await world.until("Stepping")
    await world.until("RolledBack")


async def test_other_metrics_begin_another_run() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Stepping")
    world.edit(decision={**world.experiment["spec"]["decision"], "rollbackRisk": "2%"})
    await world.until("Promoted")

    assert [run["spec"]["attempt"] for run in world.runs] == [0, 1]
    assert [run["status"]["outcome"] for run in world.runs] == ["Withdrawn", "Promoted"]


async def test_a_target_that_goes_away_ends_the_run_and_says_what_to_do() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Stepping")
    await world.cluster.delete("apps/v1", "Deployment", None, "shop")
    await world.until("Invalid")
    await world.rest()

    assert world.challenger is None
    assert world.status["decision"] == (
        "Deployment shop is not there: create it, or delete this experiment"
    )
    assert world.runs[0]["status"]["outcome"] == "Withdrawn"


async def test_a_fault_does_not_forget_what_was_refused() -> None:
    world = await idle()
    world.release("bad")
    await world.until("RolledBack")
    service = world.cluster.objects.pop(("Service", "shop"))
    await world.until("Invalid")
    world.cluster.put(service)
    await world.until("RolledBack")
    await world.rest()

    assert len(world.runs) == 1


async def test_a_service_that_does_not_select_the_target_is_named() -> None:
    world = World()
    world.cluster.objects["Service", "shop"]["spec"]["selector"] = {"app": "other"}
    await world.until("Invalid")

    assert "does not select the pods" in world.status["decision"]


async def test_more_champions_mean_more_challengers() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Stepping")
    world.target["spec"]["replicas"] = 6
    world.cluster.put(world.target)
    await world.rest(passes=4)

    assert world.replicas_seen == [0, 1, 2]


OVERDUE = {"minDuration": "20s", "maxDuration": "25s", "onDeadline": "rollback"}
# Versions in the order in which they are released, how that ends, and what is asked otherwise.
SCENARIOS: Mapping[str, tuple[list[str], str, Json]] = {
    "good": (["v2"], "Promoted", {}),
    "bad": (["bad"], "RolledBack", {}),
    "replaced": (["v2", "v3"], "Promoted", {}),
    "reverted": (["v2", "v1"], "Idle", {}),
    "overdue": (["v2"], "RolledBack", OVERDUE),
}


async def play(scenario: str, die_after: int | None) -> World:
    """Play a scenario with an operator that dies after its n-th write, and starts anew."""
    images, end, decision = SCENARIOS[scenario]
    world = World({**SPEC, "decision": {**SPEC["decision"], **decision}})
    world.cluster.die_after = die_after
    await world.until("Idle")
    await world.rest(passes=20)
    for image in images[:-1]:
        world.release(image)
        await world.until("Stepping")
    world.release(images[-1])
    await world.until("Preparing", "RollingBack")
    await world.until(end)
    await world.rest()
    return world


def end_state(world: World) -> dict[str, object]:
    return {
        "phase": world.phase,
        "champion": world.status["champion"],
        "outcomes": [(run["metadata"]["name"], run["status"]["outcome"]) for run in world.runs],
        "serving": world.serving,
        "paused": world.target["spec"].get("paused", False),
        "challenger": world.challenger,
        "attempts": world.status["attempts"],
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_an_operator_killed_after_any_write_ends_in_the_same_state(scenario: str) -> None:
    undisturbed = await play(scenario, None)

    for write in range(1, len(undisturbed.cluster.writes) + 1):
        world = await play(scenario, write)
        assert world.deaths == 1, write
        assert end_state(world) == end_state(undisturbed), world.cluster.writes[write - 1]
        assert world.replicas_seen == undisturbed.replicas_seen, world.cluster.writes[write - 1]


async def test_another_guardrail_begins_another_run() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Stepping")
    metrics = world.experiment["spec"]["metrics"]
    more = {**metrics["guardrails"][0], "name": "refusals"}
    world.edit(metrics={**metrics, "guardrails": [*metrics["guardrails"], more]})
    await world.until("Promoted")

    assert [run["status"]["outcome"] for run in world.runs] == ["Withdrawn", "Promoted"]
    assert [metric["name"] for metric in world.status["metrics"]] == [
        "errors",
        "refusals",
        "restarts",
    ]


async def test_evidence_of_another_engine_is_begun_anew() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Stepping")
    await world.rest(passes=3)
    world.status["engine"] = world.status["engine"].replace('"version":2', '"version":0')
    world.die()
    await world.until("Promoted")

    assert world.runs[0]["status"]["outcome"] == "Promoted"


async def test_silent_pods_hold_the_weight() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Stepping")
    world.silent = True
    await world.rest(passes=60)

    assert world.phase == "Stepping"
    assert world.replicas_seen == [0, 1]
    assert world.status["evidence"] != "Sufficient"

    world.silent = False
    await world.until("Promoted")


async def test_a_selector_that_cannot_be_read_is_named_and_can_be_mended() -> None:
    world = World()
    metrics = world.experiment["spec"]["metrics"]
    broken = {**metrics["guardrails"][0], "bad": 'code=~"("'}
    world.edit(metrics={**metrics, "guardrails": [broken]})
    await world.until("Invalid")

    assert "spec.metrics.guardrails[].bad" in world.status["decision"]

    world.edit(metrics=metrics)
    await world.until("Idle")
