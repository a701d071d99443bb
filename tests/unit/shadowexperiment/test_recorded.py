"""What a run leaves on record is what it was judged by: a replay of it comes to the same end."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shieldx.__main__ import app
from shieldx.resources.shadowexperiment import API_VERSION
from tests.support.experiments import SPEC, World
from tests.support.fake_cluster import Json

LATENCY = {
    "name": "latency",
    "histogram": "http_request_duration_seconds",
    "quantile": "0.95",
    "margin": {"relative": "50%"},
}
GUARDED: Json = {
    **SPEC,
    "metrics": {**SPEC["metrics"], "guardrails": [*SPEC["metrics"]["guardrails"], LATENCY]},
}


async def tried(image: str, *, dies_after: int | None = None, spec: Json | None = None) -> World:
    world = World(spec)
    await world.until("Idle")
    await world.rest(passes=20)
    before = len(world.cluster.writes)
    world.cluster.die_after = None if dies_after is None else before + dies_after
    world.release(image)
    await world.until("Promoted", "RolledBack")
    return world


def points(world: World) -> list[Json]:
    (run,) = world.runs
    return list(run["status"]["trajectory"]["points"])


def replayed(run: Json, folder: Path, *arguments: str) -> Any:
    file = folder / "run.json"
    file.write_text(json.dumps({"apiVersion": API_VERSION, **run}, sort_keys=True))
    return CliRunner().invoke(app, ["replay", "-f", str(file), *arguments], env={"COLUMNS": "120"})


@pytest.mark.parametrize(("image", "verdict"), [("v2", "promote"), ("bad", "rollback")])
@pytest.mark.parametrize("spec", [SPEC, GUARDED], ids=["errors", "with latency"])
async def test_a_replay_of_the_record_has_the_operators_verdict_in_every_bucket(
    image: str, verdict: str, spec: Json, tmp_path: Path
) -> None:
    world = await tried(image, spec=spec)
    (run,) = world.runs

    answer = json.loads(replayed(run, tmp_path, "-o", "json").stdout)
    on_record = points(world)
    assert len(on_record) >= 3
    assert answer["recordedVerdicts"][-1] == verdict
    for moment, point in zip(answer["buckets"], on_record, strict=True):
        assert moment["end"] == point["end"]
        assert moment["logEvidenceOfHarm"] == pytest.approx(point["harm"], abs=0.0006)
    text = replayed(run, tmp_path).stdout
    last = on_record[-1]["end"]
    assert answer["first"][verdict] in {last, last - 10}  # The operator acts a look later at most.
    assert f"was the same in each of {len(on_record)} points" in " ".join(text.split())


async def test_the_counts_on_record_are_those_that_were_judged() -> None:
    world = await tried("v2")
    shown = world.status["metrics"][0]

    counts = [each["counts"]["errors"] for each in points(world)]
    assert sum(row[0] for row in counts) == shown["champion"]["requests"]
    assert sum(row[3] for row in counts) == shown["challenger"]["bad"]
    assert "unrecorded" not in world.status


async def test_an_operator_that_dies_around_a_write_of_the_record_records_each_bucket_once() -> (
    None
):
    long = {**SPEC, "decision": {**SPEC["decision"], "minDuration": "4m"}}
    undisturbed = await tried("v2", spec=long)
    writes = undisturbed.cluster.writes
    begun = next(at for at, write in enumerate(writes) if "ExperimentRun" in write)
    recorded = [at - begun for at, write in enumerate(writes) if "patch ExperimentRun" in write]
    assert len(recorded) >= 3
    assert len(points(undisturbed)) > 20

    for write in sorted({at + more for at in recorded for more in (1, 2, 3)}):
        world = await tried("v2", dies_after=write, spec=long)
        ends = [each["end"] for each in points(world)]
        assert ends == sorted(set(ends)), write
        counted = sum(each["counts"]["errors"][0] for each in points(world))
        assert counted == world.status["metrics"][0]["champion"]["requests"], write


async def test_a_thinned_record_is_replayed_and_called_an_approximation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shieldx.judgement.trajectory.MOST_POINTS", 10)
    long = {**SPEC, "decision": {**SPEC["decision"], "minDuration": "4m"}}
    world = await tried("v2", spec=long)
    (run,) = world.runs

    assert len(points(world)) <= 10
    said = " ".join(replayed(run, tmp_path).stdout.split())
    assert f"Of the record {run['status']['trajectory']['thinned']}" in said
    assert "It would have promoted at" in said


async def test_a_run_that_its_experiment_did_not_live_to_end_is_recorded_so_far() -> None:
    world = World()
    await world.until("Idle")
    await world.rest(passes=20)
    world.release("v2")
    await world.until("Stepping")
    while len(world.status.get("unrecorded", [])) < 3:
        await world.step()
    engine = world.status["engine"]
    await world.recreate("another")

    (run,) = world.runs
    assert run["status"]["outcome"] == "Withdrawn"
    assert run["status"]["engine"] == engine
    assert len(points(world)) == 3


async def test_a_run_without_a_bucket_says_so(tmp_path: Path) -> None:
    world = World()
    await world.until("Idle")
    world.cluster.broken.add("v2")
    world.release("v2")
    await world.until("RolledBack")

    result = replayed(world.runs[0], tmp_path)
    assert result.exit_code == 2
    assert "no bucket counted" in result.stderr
