"""The CustomResourceDefinitions of `crds/`, and their schemas as the API server applies them."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CRDS: Final = ROOT / "crds"

type Json = dict[str, Any]


def crd_files() -> list[Path]:
    return sorted(CRDS.glob("*.yaml"))


def load_crds() -> dict[str, Json]:
    """Return every definition by its kind."""
    loaded = (yaml.safe_load(file.read_text()) for file in crd_files())
    return {crd["spec"]["names"]["kind"]: crd for crd in loaded}


def schema_of(crd: Json) -> Json:
    """Return the schema of its one version, which pins apiVersion and kind as well."""
    (version,) = crd["spec"]["versions"]
    schema: Json = copy.deepcopy(version["schema"]["openAPIV3Schema"])
    schema["properties"]["apiVersion"]["const"] = f"{crd['spec']['group']}/{version['name']}"
    schema["properties"]["kind"]["const"] = crd["spec"]["names"]["kind"]
    schema["required"] = [*schema.get("required", []), "apiVersion", "kind", "metadata"]
    return schema


def examples() -> Iterator[tuple[Path, Json]]:
    """Yield every document of `crds/examples/` with its file."""
    for file in sorted((CRDS / "examples").glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield file, document


def nodes(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Walk every node of a structural schema with its dotted path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if isinstance(items := schema.get("items"), dict):
        yield from nodes(items, f"{path}[]")
    if isinstance(values := schema.get("additionalProperties"), dict):
        yield from nodes(values, f"{path}{{}}")


def strict(schema: Json) -> Json:
    """Return the schema that refuses what the API server would silently prune."""
    closed = copy.deepcopy(schema)
    for path, node in nodes(closed):
        free = "additionalProperties" in node or "x-kubernetes-preserve-unknown-fields" in node
        if node.get("type") == "object" and not free and path != ".metadata":
            node["additionalProperties"] = False
    return closed


def defaulted(schema: Json, value: Any) -> Any:
    """Fill in defaults in the order in which the API server does: outer ones first."""
    if isinstance(value, dict):
        filled = dict(value)
        for name, inner in schema.get("properties", {}).items():
            if name not in filled and "default" in inner:
                filled[name] = copy.deepcopy(inner["default"])
            if name in filled:
                filled[name] = defaulted(inner, filled[name])
        return filled
    if isinstance(value, list):
        return [defaulted(schema.get("items", {}), item) for item in value]
    return value
