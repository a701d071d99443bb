"""`shieldx simulate`, as it is typed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from shieldx.__main__ import app
from shieldx.cli.experiment_file import read_experiment
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from tests.support.crds import CRDS, defaulted, load_crds, schema_of

MINIMAL = CRDS / "examples" / "shadowexperiment-minimal.yaml"


def simulated(*arguments: object, text: str | None = None, **environment: str) -> Any:
    asked = ["simulate", "-f", *map(str, arguments)]
    return CliRunner().invoke(app, asked, input=text, env={"COLUMNS": "100", **environment})


def changed(old: str, new: str) -> str:
    text = MINIMAL.read_text()
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_a_file_means_what_the_api_server_makes_of_it(name: str) -> None:
    file = CRDS / "examples" / f"shadowexperiment-{name}.yaml"
    schema = schema_of(load_crds()["ShadowExperiment"])
    document = defaulted(schema, yaml.safe_load(file.read_text()))

    assert read_experiment(file).spec == ShadowExperimentSpec.parse(document["spec"])


def test_the_answer_says_how_often_and_how_fast() -> None:
    result = simulated(MINIMAL, "--runs", 60, "--traffic", 200)

    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "checkout: 200 requests a second" in said
    assert "the champion at 1%, harm above 1.22%, the margin at 1.5%" in said
    for row in ("equal", "errors at its margin", "errors 2x"):
        assert any(line.startswith(row) for line in result.stdout.splitlines())


def test_programs_get_the_same_as_json_and_yaml_and_dice_can_be_repeated() -> None:
    asked = [MINIMAL, "--runs", 60, "--traffic", 200, "--seed", 7, "--base-rate", "errors=0.5%"]
    answers = [simulated(*asked, "-o", form).stdout for form in ("json", "json", "yaml")]
    answer = json.loads(answers[0])

    assert answers[0] == answers[1]
    assert yaml.safe_load(answers[2]) == answer
    equal, at_margin, worse = answer["challengers"]
    assert equal["promoted"]["share"] > 0.9
    assert equal["promoted"]["seconds"]["median"] * 200 == equal["promoted"]["requests"]["median"]
    assert at_margin["rates"]["errors"] == {"champion": 0.005, "challenger": 0.01}
    assert worse["rolledBack"]["share"] > 0.9
    assert worse["promoted"]["seconds"] == {"median": None, "p90": None}
    assert answer["guardrails"][0]["requestsToPromote"]["p90"] > 10_000


def test_weights_are_those_that_so_many_pods_can_have() -> None:
    result = simulated(MINIMAL, "--runs", 50, "--horizon", "5m", "--champion-pods", 2, "-o", "json")

    assert json.loads(result.stdout)["weights"] == [0.333333, 0.5]


@pytest.mark.parametrize("width", [40, 70])
def test_a_narrow_terminal_gets_no_longer_lines_and_no_colours(width: int) -> None:
    result = simulated(MINIMAL, "--runs", 50, "--horizon", "10m", NO_COLOR="1", COLUMNS=str(width))

    assert max(map(len, result.stdout.splitlines())) <= width
    assert "\x1b[3" not in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "counter: http_requests_total, ",
            "",
            "spec.metrics.guardrails[] must have exactly one of counter (with bad",
        ),
        ("pods: {port: 8080}", "", "spec.metrics.source must have exactly one of pods (read"),
        ("margin: {", "colour: red, margin: {", "spec.metrics.guardrails[0] must not contain"),
        ('"0.5%"', "half", "(spec.metrics.guardrails[0].margin.absolute is 'half')"),
        ("for: 5m", "for: 5x", "(spec.strategy.steps[0].for is '5x')"),
        ("weight: 10", "weight: 60", "spec.strategy.steps must have ascending weights"),
        ("for: 5m", "for: 5", "spec.strategy.steps[0].for must be string: put it in quotes"),
        ("weight: 10", 'weight: "10"', "spec.strategy.steps[0].weight must be integer"),
        (
            '"0.5%"',
            '"0.5%", relative: "1%"',
            'such as "10%" of the champion\'s share) (spec.metrics.guardrails[0].margin)',
        ),
        (
            "kind: ShadowExperiment",
            "kind: Deployment",
            "must hold one ShadowExperiment, as for kubectl apply, and holds Deployment",
        ),
        ("v1alpha1", "v1", "apiVersion must be"),
        ("spec:", "spec: [", "is no YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(old: str, new: str, said: str) -> None:
    result = simulated("-", text=changed(old, new))

    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base-rate", "speed=1%"], "no guardrail is called speed"),
        (["--base-rate", "1"], "--base-rate: '1' is not a percentage"),
        (["--horizon", "1d"], "--horizon: '1d' is not a duration"),
        (["--base-rate", "100%"], "above 0% and below 100%"),
        (["--effect", "twice"], "a factor such as 2x"),
        (["--effect", "nanx"], "a factor such as 2x"),
        (["--horizon", "1s"], "at least one bucket"),
        (["--base-rate", "speed=1%"], "but errors"),
        (["--effect", "0.5x"], "makes no challenger that is worse"),
        (["--effect", "1%"], "makes no challenger that is worse"),
    ],
)
def test_what_was_typed_wrong_is_said(arguments: list[str], said: str) -> None:
    result = simulated(MINIMAL, *arguments)

    assert result.exit_code == 2
    assert said in result.stderr


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = simulated(tmp_path / "none.yaml")

    assert result.exit_code == 2
    assert "cannot be read: No such file or directory" in result.stderr
