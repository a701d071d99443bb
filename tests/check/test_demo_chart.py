"""The demo's chart: lint, closed values, and objects that Kubernetes and our definitions take."""

from typing import Any

import helm_python
import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs.
import pytest

from tests.demo.__main__ import SPEEDS
from tests.support.charts import Manifest, lint, render
from tests.support.crds import load_crds, schema_of, strict
from tests.support.shop import CHART

DEFINITIONS = load_crds()
OBJECTS = render(CHART, namespace="shop")
BY_OBJECT = pytest.mark.parametrize(
    "manifest", OBJECTS, ids=[f"{o['kind']}/{o['metadata']['name']}" for o in OBJECTS]
)


def one(kind: str, values: dict[str, Any]) -> Manifest:
    (found,) = [m for m in render(CHART, values, namespace="shop") if m["kind"] == kind]
    return found


def test_helm_finds_nothing_to_say() -> None:
    assert lint(CHART) == []


@BY_OBJECT
def test_every_object_fits_its_schema(manifest: Manifest) -> None:
    definition = DEFINITIONS.get(manifest["kind"])
    if definition is None:
        kubernetes_validate.validate(manifest, "1.30.0", strict=True)
    else:
        jsonschema.Draft202012Validator(strict(schema_of(definition))).validate(manifest)


@BY_OBJECT
def test_every_object_is_in_the_namespace_of_the_release(manifest: Manifest) -> None:
    assert manifest["metadata"]["namespace"] == "shop"


@pytest.mark.parametrize(
    "values",
    [{"shop": {"errors": 1}}, {"shop": {"errorRate": "2"}}, {"load": {"rate": 0}}, {"speed": 1}],
    ids=str,
)
def test_a_value_that_means_nothing_is_refused(values: dict[str, Any]) -> None:
    with helm_python.Chart.load(str(CHART)) as chart, pytest.raises(helm_python.HelmError):
        chart.validate_schema(chart.merge_values(values))


def test_a_version_is_a_change_of_the_pod_template_only() -> None:
    old, new = (one("Deployment", {"shop": {"version": v}}) for v in ("v1", "v2"))

    assert old["spec"].pop("template") != new["spec"].pop("template")
    assert old == new


@pytest.mark.parametrize("values", SPEEDS.values(), ids=SPEEDS.keys())
def test_no_speed_changes_the_rule(values: dict[str, Any]) -> None:
    spec = one("ShadowExperiment", {"experiment": values})["spec"]

    assert spec["decision"]["rollbackRisk"] == spec["decision"]["promotionRisk"] == "1%"
    assert [g["margin"] for g in spec["metrics"]["guardrails"]] == [{"absolute": "1.5%"}]
