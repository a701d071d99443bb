"""Whole trials with a latency guardrail: slower versions go, equal ones come."""

import copy

from controllers.shadowexperiment.progress import Progress
from shieldx.stats import named_under
from tests.support.experiments import SPEC, World
from tests.support.fake_cluster import Json

LATENCY: Json = {
    "name": "latency",
    "histogram": "http_request_duration_seconds",
    "quantile": "0.95",
    "margin": {"relative": "50%"},
    "baseRate": "1%",
}


async def idle(passes: int = 20, **decision: str) -> World:
    spec = copy.deepcopy(SPEC)
    spec["decision"] |= decision
    spec["metrics"]["guardrails"].append(LATENCY)
    world = World(spec)
    await world.until("Idle")
    await world.rest(passes=passes)
    return world


async def test_an_equally_fast_version_is_promoted() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Promoted")

    rows = {it["name"]: it for it in world.status["metrics"]}
    assert named_under("latency", rows) == ["latency<=0.1", "latency<=0.25", "latency<=0.5"]
    assert "evidenceOfSafety" in rows["latency<=0.25"]
    assert "evidenceOfSafety" not in rows["latency<=0.1"]
    rates = dict(Progress.parse(world.status).base_rates)
    assert named_under("latency", rates) == list(rates)[1:]
    assert 0.049 < rates["latency<=0.25"] < 0.051


async def test_a_slower_version_is_rolled_back_for_its_latency() -> None:
    world = await idle()
    world.release("slow")
    await world.until("RolledBack")

    assert world.status["decision"].startswith("Rolled back: latency<=")
    assert world.serving == {"v1"}


async def test_a_champion_that_was_not_measured_before_is_measured_before_anything_counts() -> None:
    world = await idle()
    world.release("v2")
    await world.until("Preparing")
    world.silent = True
    world.die()
    await world.until("Stepping")
    assert world.status.get("engine") is None

    world.silent = False
    await world.until("Promoted")
    assert world.phases_seen[-3:] == ["Stepping", "Promoting", "Promoted"]


async def test_a_champion_that_is_never_measured_is_silence_too() -> None:
    world = await idle(noData="rollback", noDataAfter="1m")
    world.release("v2")
    await world.until("Preparing")
    world.silent = True
    world.die()
    await world.until("RolledBack")

    assert world.runs[0]["status"]["outcome"] == "NoData"
    assert "of the champion is not known yet" in world.status["decision"]


async def test_the_operator_may_die_at_any_time() -> None:
    world = await idle()
    world.release("slow")
    for _ in range(400):
        await world.step()
        if world.phase == "RolledBack":
            break
        if world.phase == "Stepping" and world.status.get("engine"):
            world.die()
            await world.rest(passes=9)

    assert world.phase == "RolledBack"
