"""`shieldx replay`, on what an operator saw."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from typer.testing import CliRunner

from shieldx.__main__ import app
from tests.support.crds import CRDS
from tests.support.experiments import SPEC

START = 1_800_000_000


def replayed(folder: Path, recording: Any, *arguments: object, **environment: str) -> Any:
    file = folder / "recorded.json"
    file.write_text(recording if isinstance(recording, str) else json.dumps(recording))
    asked = ["replay", "-f", str(file), *map(str, arguments)]
    return CliRunner().invoke(app, asked, env={"COLUMNS": "110", **environment})


def recorded(bad: int, buckets: int = 20, **more: Any) -> dict[str, Any]:
    """Return buckets in which each of two champion pods has 5 of 500 bad, the challenger `bad`."""
    counts = {"champion": {"a": [500, 5], "b": [500, 5]}, "challenger": {"c": [500, bad]}}
    return {
        "experiment": {
            "apiVersion": "shieldx.io/v1alpha1",
            "kind": "ShadowExperiment",
            "metadata": {"name": "trial"},
            "spec": SPEC,
        },
        "buckets": [
            {"end": START + 10 * each, "metrics": {"errors": counts}}
            for each in range(1, buckets + 1)
        ],
        **more,
    }


def test_what_would_have_been_rolled_back_is_said_with_its_bucket(tmp_path: Path) -> None:
    result = replayed(tmp_path, recorded(bad=40))
    answer = json.loads(replayed(tmp_path, recorded(bad=40), "-o", "json").stdout)

    first = answer["first"]["rollback"]
    assert START + 30 <= first <= START + 60  # three buckets at least
    number = (first - START) // 10
    assert f"after {number:.0f} buckets, on errors." in " ".join(result.stdout.split())
    verdicts = [each["verdict"] for each in answer["buckets"]]
    assert set(verdicts[int(number) - 1 :]) == {"rollback"}
    assert answer["first"]["promote"] is None


def test_a_promotion_waits_for_the_shortest_duration(tmp_path: Path) -> None:
    answer = json.loads(replayed(tmp_path, recorded(bad=5), "-o", "json").stdout)

    assert answer["first"]["promote"] == START + 60  # minDuration is a minute
    assert "promote later" in [each["verdict"] for each in answer["buckets"]]
    assert "It would have promoted at" in replayed(tmp_path, recorded(bad=5)).stdout


def test_another_experiment_asks_another_question_of_the_same_past(tmp_path: Path) -> None:
    strict = {**SPEC, "metrics": {**SPEC["metrics"]}}
    strict["metrics"]["guardrails"] = [
        {**SPEC["metrics"]["guardrails"][0], "margin": {"relative": "1%"}}
    ]
    file = tmp_path / "strict.yaml"
    file.write_text(yaml.safe_dump({**recorded(0)["experiment"], "spec": strict}))

    result = replayed(tmp_path, recorded(bad=5), "--experiment", file)

    assert "no verdict by the end of what was recorded" in " ".join(result.stdout.split())


def test_a_frozen_base_rate_and_restarts_count(tmp_path: Path) -> None:
    known = recorded(bad=5, baseRates={"errors": 0.02})
    for bucket in known["buckets"]:
        bucket["restarts"] = {"champion": [2, 0], "challenger": [1, 1]}
    answer = json.loads(replayed(tmp_path, known, "-o", "json").stdout)

    assert answer["first"]["promote"] is None  # the dead take their failures with them
    assert answer["buckets"][-1]["blame"] == "restarts"


def test_the_picture_is_svg_with_both_lines(tmp_path: Path) -> None:
    picture = tmp_path / "evidence.svg"
    assert replayed(tmp_path, recorded(bad=40), "--plot", picture).exit_code == 0

    text = picture.read_text()
    root = ET.fromstring(text)  # noqa: S314 - it is our own
    assert root.tag.endswith("svg")
    assert "evidence of harm" in text
    assert "evidence of safety" in text
    lines = [p for p in root.iter() if p.get("stroke-width") == "2"]
    assert [len(str(line.get("d")).split("L")) for line in lines] == [20, 20]


def test_what_the_docs_show_can_be_replayed(tmp_path: Path) -> None:
    page = (CRDS.parent / "docs" / "how-to" / "ask-about-an-experiment.md").read_text()
    shown = page.split("```json\n")[1].split("```")[0]

    experiment = CRDS / "examples" / "shadowexperiment-minimal.yaml"
    result = replayed(tmp_path, shown, "--experiment", experiment)

    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("width", [50, 70])
def test_a_narrow_terminal_gets_no_longer_lines(tmp_path: Path, width: int) -> None:
    lines = replayed(tmp_path, recorded(5, 3), COLUMNS=str(width)).stdout.splitlines()

    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"buckets": []}, "has no bucket, so there is nothing to replay"),
        (
            {"buckets": [{"end": 20, "metrics": {}}, {"end": 10, "metrics": {}}]},
            "buckets[1] ends at 10, and the one before it at 20: put them in the order",
        ),
        ({"kind": "ShadowExperiment"}, "is of kind ShadowExperiment; what is replayed: an Exp"),
        (
            {"kind": "ExperimentRun", "metadata": {"name": "r"}, "status": {}},
            "no bucket was recorded in run r, so there is nothing to replay",
        ),
        ({"buckets": [{"end": "now", "metrics": {}}]}, "$.buckets[0].end"),
        (
            {"buckets": [{"end": 1, "metrics": {"speed": {"champion": {}, "challenger": {}}}}]},
            "speed",
        ),
        (
            {
                "buckets": [
                    {"end": 1, "metrics": {"errors": {"champion": {"a": [1, 2]}, "challenger": {}}}}
                ]
            },
            "more bad requests than requests",
        ),
        ({"experiment": None}, "say which with --experiment FILE"),
        ({"experiment": {"kind": "Pod"}}, "experiment"),
        ({"baseRates": {"speed": 0.1}}, "do not name the same metrics"),
        ({"baseRates": {"errors": 2.0}}, "base_rate is between 0 and 1"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    result = replayed(tmp_path, {**recorded(5), **change})

    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_what_is_no_json_is_said(tmp_path: Path) -> None:
    said = replayed(tmp_path, "{").stderr

    assert "recorded.json: " in said
    assert "kubectl get experimentrun NAME -o json" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prometheus", "http://127.0.0.1:1"], "is it the address that a browser opens?"),
        (["--prometheus", "localhost"], "an address such as http://localhost:9090"),
        (["--prometheus", "http://localhost:1", "--champion", "("], "--champion is a regular"),
        (["--prometheus", "http://localhost:1", "--challenger", "*"], "--challenger is a regular"),
    ],
)
def test_a_past_that_cannot_be_asked_for_is_said(arguments: list[str], said: str) -> None:
    hour = ["--from", "2026-05-04T10:00:00Z", "--to", "2026-05-04T11:00:00Z"]
    check_said(arguments, hour, said)


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        ("2026-05-04T11:00:00Z", "2026-05-04T10:00:00Z", "and before --to"),
        ("2026-05-04T11:00:00Z", "2026-05-04T11:00:00Z", "and before --to"),
        ("2026-05-04T11:00:00Z", "2026-05-04T11:00:01Z", "at least a bucket of"),
        ("1996-05-04T11:00:00Z", "2026-05-04T11:00:00Z", "at most 20,000 (166h40m)"),
        (
            "2996-05-04T11:00:00Z",
            "2996-05-04T12:00:00Z",
            "--from 2996-05-04T11:00:00Z has not come",
        ),
    ],
)
def test_times_that_cannot_be_are_said(begin: str, end: str, said: str) -> None:
    times = ["--from", begin, "--to", end]
    check_said(["--prometheus", "http://localhost:1"], times, said)


def check_said(arguments: list[str], times: list[str], said: str) -> None:
    experiment = CRDS / "examples" / "shadowexperiment-prometheus.yaml"

    asked = ["replay", *arguments, *times, "--experiment", str(experiment)]
    result = CliRunner().invoke(app, asked)

    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prometheus", "http://localhost:1"], "a time is as 2026-05-04T10:00:00Z"),
        (["-f", "past.json", "--champion", "v1-.*"], "name pods for --prometheus alone"),
    ],
)
def test_options_that_do_not_go_together_are_said(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["replay", *arguments], env={"COLUMNS": "200"})

    assert result.exit_code == 2
    assert said in result.stderr
