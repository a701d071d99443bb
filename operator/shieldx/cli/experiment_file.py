"""Reads a ShadowExperiment from a file as the API server would: its shape, and its defaults.

The shape is that of the definition in `crds/`, closed: a field that does not exist is refused and
not dropped. The rules beside it are in `experiment_rules`.
"""

import copy
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import fastjsonschema
import yaml

from shieldx.cli.experiment_rules import broken_rule
from shieldx.judgement.beginning import asked
from shieldx.resources.shadowexperiment import API_VERSION, KIND, ShadowExperimentSpec
from shieldx.signals.selector import InvalidSelectorError

type Json = dict[str, Any]

STANDARD_INPUT: Final = Path("-")
LONGEST_SAID: Final = 500


class ExperimentFileError(Exception):
    """The file cannot be read as a ShadowExperiment; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a file asks for."""

    name: str
    spec: ShadowExperimentSpec


def read_experiment(file: Path) -> Experiment:
    """Return the one ShadowExperiment of a YAML or JSON file; `-` is standard input."""
    return experiment_of(_only_experiment(file), str(file))


def experiment_of(document: Json, file: str) -> Experiment:
    """Return what a document asks for; `file` is where it comes from, for what is said of it."""
    definition = _definition()
    filled = _defaulted(definition, document)
    _check_shape(file, definition, filled)
    if broken := broken_rule(definition, filled):
        raise ExperimentFileError(f"{file}: {broken}")
    spec = ShadowExperimentSpec.parse(filled["spec"])
    try:
        for guardrail in spec.guardrails:
            asked(guardrail)
    except InvalidSelectorError as malformed:
        raise ExperimentFileError(
            f"{file}: spec.metrics.guardrails[].bad: {malformed}"
        ) from malformed
    return Experiment(str(filled["metadata"].get("name", "unnamed")), spec)


def _only_experiment(file: Path) -> Json:
    try:
        text = sys.stdin.read() if file == STANDARD_INPUT else file.read_text()
        documents = list(yaml.safe_load_all(text))
    except OSError as error:
        raise ExperimentFileError(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExperimentFileError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    kinds = [each.get("kind") for each in documents if isinstance(each, dict)]
    if kinds.count(KIND) != 1:
        held = ", ".join(map(str, kinds)) or "nothing"
        raise ExperimentFileError(
            f"{file} must hold one {KIND}, as for kubectl apply, and holds {held[:LONGEST_SAID]}"
        )
    return next(each for each in documents if isinstance(each, dict) and each.get("kind") == KIND)


def _definition() -> Json:
    """Return the schema of what people write: the definition's, closed, without the status."""
    text = (files("shieldx") / "crds" / "shadowexperiments.yaml").read_text()
    (version,) = yaml.safe_load(text)["spec"]["versions"]
    schema: Json = _closed(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {
        "apiVersion": {"const": API_VERSION},
        "metadata": {"type": "object"},
        "status": {},
    }
    schema["required"] = ["apiVersion", "metadata", "spec"]
    return schema


def _closed(schema: Json) -> Json:
    closed = {key: value for key, value in schema.items() if key not in {"format", "default"}}
    if "default" in schema:
        closed["x-default"] = schema["default"]
    if "properties" in schema:
        closed["properties"] = {k: _closed(inner) for k, inner in schema["properties"].items()}
        closed["additionalProperties"] = False
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    return closed


def _defaulted(schema: Json, value: Any) -> Any:
    """Fill in defaults in the order in which the API server does: outer ones first."""
    if isinstance(value, dict):
        filled = dict(value)
        for name, inner in schema.get("properties", {}).items():
            if name not in filled and "x-default" in inner:
                filled[name] = copy.deepcopy(inner["x-default"])
            if name in filled:
                filled[name] = _defaulted(inner, filled[name])
        return filled
    if isinstance(value, list):
        return [_defaulted(schema.get("items", {}), item) for item in value]
    return value


def _check_shape(file: str, definition: Json, document: Json) -> None:
    try:
        fastjsonschema.compile(definition, use_default=False)(document)
    except fastjsonschema.JsonSchemaValueException as error:
        said = str(error.message).replace("data.", "", 1).removeprefix("data ")[:LONGEST_SAID]
        quotes = ": put it in quotes" if said.endswith("must be string") else ""
        raise ExperimentFileError(f"{file}: {said}{quotes}") from error
