"""`shieldx explain`, of experiments as the operator leaves them."""

import copy
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from shieldx.__main__ import app
from shieldx.cli.explanation import explain, of_experiment
from shieldx.resources.shadowexperiment import API_VERSION
from tests.support.experiments import NAME, World
from tests.unit.shadowexperiment.test_latency import idle


def explained(live: dict[str, Any], *arguments: str, **environment: str) -> Any:
    text = yaml.safe_dump({"apiVersion": API_VERSION, **live})
    asked = ["explain", "-f", "-", *arguments]
    return CliRunner().invoke(app, asked, input=text, env={"COLUMNS": "100", **environment})


async def ended(image: str) -> World:
    world = World()
    await world.until("Idle")
    world.release(image)
    await world.until("Promoted", "RolledBack")
    return world


async def test_a_roll_back_is_explained_with_its_numbers_and_counters() -> None:
    world = await ended("bad")

    said = " ".join(explained(world.experiment).stdout.split())
    answer = json.loads(explained(world.experiment, "-o", "json").stdout)

    assert said.startswith(f"{NAME}: RolledBack since")
    assert world.status["decision"] in said
    assert "Verdict: rollback, on errors, which has the most evidence of harm" in said
    assert 'http_requests_total{code=~"5.."}' in said
    assert "http://POD:8080/metrics" in said
    assert answer["blame"] == "errors"
    assert answer["logEvidenceOfHarm"] >= math.log(answer["needed"]["rollback"])
    errors, restarts = answer["metrics"]
    shown = world.status["metrics"][0]
    assert errors["counted"]["challenger"] == {
        "total": shown["challenger"]["requests"],
        "bad": shown["challenger"]["bad"],
    }
    assert f"{math.exp(errors['harm']['log']):.3g}" == shown["evidenceOfHarm"] or (
        errors["harm"]["log"] > 20  # larger than what is shown
    )
    assert errors["championRates"]["frozen"] == float(world.status["baseRates"][0]["rate"])
    # Alone it would need twice as much: restarts have the other half of the say.
    assert errors["harm"]["neededLog"] == pytest.approx(math.log(200))
    assert "safety" not in restarts


async def test_a_promotion_is_explained_by_its_record_after_the_experiment_is_gone() -> None:
    world = await ended("v2")
    (record,) = world.runs

    said = " ".join(explained({**record, "kind": "ExperimentRun"}).stdout.split())
    answer = json.loads(explained({**record, "kind": "ExperimentRun"}, "-o", "json").stdout)

    assert said.startswith(f"{NAME} in shop: Promoted since")
    assert record["status"]["decision"] in said
    assert answer["run"] == record["metadata"]["name"]
    assert answer["metrics"][0]["safety"]["done"] == 1.0
    assert f"as of the decision at {record['status']['finishedAt']}, after the bucket" in said


@pytest.mark.parametrize("image", ["v2", "slow"])
async def test_a_record_explains_its_run_as_the_experiment_did_when_it_was_decided(
    image: str,
) -> None:
    world = await idle()
    world.release(image)
    await world.until("Promoting", "RollingBack")
    at_the_decision = json.loads(explained(world.experiment, "-o", "json").stdout)
    await world.until("Promoted", "RolledBack")
    await world.rest(passes=30)
    (record,) = world.runs

    live = json.loads(explained(world.experiment, "-o", "json").stdout)
    recorded = json.loads(explained({**record, "kind": "ExperimentRun"}, "-o", "json").stdout)

    assert len(recorded["metrics"]) > 3
    for name in ("metrics", "verdict", "logEvidenceOfHarm", "buckets", "needed", "source"):
        assert recorded[name] == live[name] == at_the_decision[name]
    points = record["status"]["trajectory"]["points"]
    last = datetime.fromtimestamp(points[-1]["end"], UTC)
    assert recorded["asOf"] == {
        "decided": True,
        "decidedAt": record["status"]["finishedAt"],
        "lastBucketEnd": f"{last:%FT%TZ}",
    }


async def test_what_was_decided_is_explained_by_the_spec_of_its_run() -> None:
    world = await ended("bad")
    (record,) = world.runs
    before = explain(of_experiment(world.experiment).judged_by(record))
    world.experiment["spec"]["metrics"]["guardrails"][0] |= {
        "bad": 'code="418"',
        "margin": {"relative": "90%"},
    }

    after = explain(of_experiment(world.experiment).judged_by(record))

    assert after == before
    assert explain(of_experiment(world.experiment)) != before


async def test_the_record_of_a_run_that_goes_on_points_to_its_experiment() -> None:
    world = World()
    await world.until("Idle")
    world.release("v2")
    await world.until("Stepping")
    await world.rest(passes=20)
    (record,) = world.runs

    said = explained({**record, "kind": "ExperimentRun"}).stdout

    assert f"until then: shieldx explain {NAME}" in " ".join(said.split())


async def test_each_boundary_of_a_histogram_is_explained_by_the_share_that_was_frozen_for_it() -> (
    None
):
    world = await idle()
    world.release("slow")
    await world.until("RolledBack")
    (record,) = world.runs

    live = json.loads(explained(world.experiment, "-o", "json").stdout)
    recorded = json.loads(explained({**record, "kind": "ExperimentRun"}, "-o", "json").stdout)

    frozen = {each["name"]: float(each["rate"]) for each in world.status["baseRates"]}
    assert len(frozen) > 2
    for answer in (live, recorded):
        rates = {each["name"]: each["championRates"]["frozen"] for each in answer["metrics"]}
        assert rates == frozen | {"restarts": rates["restarts"]}
    explained_by = {each["name"]: each for each in live["metrics"]}
    blamed = explained_by[live["blame"]]
    assert live["blame"] == "latency<=0.25"
    assert blamed["harm"]["log"] >= math.log(100)
    assert 'less http_request_duration_seconds_bucket{le="0.25"}' in blamed["query"]["bad"]


async def test_what_a_prometheus_was_asked_can_be_asked_again() -> None:
    world = await ended("v2")
    asked = {"url": "http://prometheus:9090", "matchLabels": {"job": "shop"}, "podLabel": "pod"}
    source = {"prometheus": {**asked, "scrapeInterval": "10s"}}
    live = {**world.experiment, "spec": copy.deepcopy(world.experiment["spec"])}
    live["spec"]["metrics"]["source"] = source

    said = explained(live, COLUMNS="400").stdout
    answer = json.loads(explained(live, "-o", "json").stdout)["source"]

    assert answer["champion"] == '{pod=~"shop-[a-z0-9]+-[a-z0-9]{5}",job="shop"}'
    assert answer["challenger"] == '{pod=~"shop-challenger-[a-z0-9]+-[a-z0-9]{5}",job="shop"}'
    assert f"with {answer['champion']} of the champion" in said


async def test_an_experiment_in_the_middle_says_what_is_missing() -> None:
    world = World()
    await world.until("Idle")
    world.release("v2")
    await world.until("Stepping")
    while not any("missing" in each for each in world.status.get("metrics", [])):
        await world.step()

    result = explained(world.experiment)

    assert result.exit_code == 0
    assert "Verdict: continue." in result.stdout
    assert "Evidence so far, up to the bucket until 2026-03-01T12:" in result.stdout
    assert world.status["metrics"][0]["missing"]["message"] in " ".join(result.stdout.split())


async def test_an_experiment_without_a_trial_says_so() -> None:
    world = World()
    await world.until("Idle")

    assert "there is no evidence to explain" in explained(world.experiment).stdout


async def test_a_state_of_another_version_leaves_what_was_shown() -> None:
    world = await ended("v2")
    world.status["engine"] = '{"engine": {"version": 0}, "dispersions": {}}'

    result = explained(world.experiment)

    assert result.exit_code == 0
    assert "Verdict: promote." in result.stdout
    assert "Evidence as of the decision, rounded as it was shown then." in result.stdout
    assert "100%" in result.stdout


@pytest.mark.parametrize("width", [40, 60])
async def test_a_narrow_terminal_gets_no_longer_lines(width: int) -> None:
    world = await ended("bad")

    lines = explained(world.experiment, COLUMNS=str(width), NO_COLOR="1").stdout.splitlines()

    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("live", "said"),
    [
        ({"kind": "Deployment"}, "nor an ExperimentRun, but of kind Deployment; read one with"),
        ({"kind": None}, "nor an ExperimentRun, but nothing that has a kind; read one with"),
        (
            {"kind": "ShadowExperiment", "metadata": {"name": "x"}, "spec": {}},
            "'strategy' is missing",
        ),
    ],
)
def test_what_is_no_experiment_is_said(live: dict[str, Any], said: str) -> None:
    result = explained(live)

    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read: No such file"), ("a: [", "is not one object"), ("\0", "is not one")],
)
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "trial.yaml"
    if text is not None:
        file.write_text(text)

    result = CliRunner().invoke(app, ["explain", "-f", str(file)])

    assert result.exit_code == 2
    assert f"shieldx explain: {file} {said}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_cluster_it_says_which_one_to_name() -> None:
    asked = ["explain", "shop", "-n", "shop"]
    result = CliRunner().invoke(app, asked, env={"KUBECONFIG": "/nonexistent/config"})

    assert result.exit_code == 2
    assert "say which with KUBECONFIG" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_name_or_a_file_must_be_given() -> None:
    assert CliRunner().invoke(app, ["explain"]).exit_code == 2
