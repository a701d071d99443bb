"""The operator's chart: lint, closed values, and objects that every supported Kubernetes takes."""

from typing import Any

import helm_python
import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs.
import pytest
import yaml

from tests.support.charts import OPERATOR_CHART, Manifest, lint, render
from tests.support.crds import crd_files

OBJECTS = render(OPERATOR_CHART)
NAMES = [f"{o['kind']}/{o['metadata']['name']}" for o in OBJECTS]
OLDEST, NEWEST = "1.30.0", "1.37.0"


def of_kind(kind: str) -> list[Manifest]:
    return [manifest for manifest in OBJECTS if manifest["kind"] == kind]


PODS = [(m["metadata"]["name"], m["spec"]["template"]["spec"]) for m in of_kind("Deployment")]


def test_helm_finds_nothing_to_say() -> None:
    assert lint(OPERATOR_CHART) == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", OBJECTS, ids=NAMES)
def test_every_object_fits_the_schema_of(version: str, manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_an_unknown_field_would_be_seen() -> None:
    (planted,) = [m for m in render(OPERATOR_CHART) if m["metadata"]["name"] == "shieldx-edit"]
    planted["ruls"] = []

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(planted, NEWEST, strict=True)


def test_the_chart_installs_the_definitions_of_crds() -> None:
    written = {file.name: yaml.safe_load(file.read_text()) for file in crd_files()}
    installed = {m["metadata"]["name"]: m for m in of_kind("CustomResourceDefinition")}

    assert {crd["metadata"]["name"] for crd in written.values()} == installed.keys()
    for crd in written.values():
        assert installed[crd["metadata"]["name"]]["spec"] == crd["spec"]
    assert all(
        m["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        for m in installed.values()
    )


@pytest.mark.parametrize(
    "values",
    [
        {"imag": {}},
        {"image": {"tagg": "x"}},
        {"image": {"digest": "latest"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"operator": {"replicas": 2}},
        {"webhook": {"replicas": 0}},
        {"crds": {"create": "yes"}},
        {"commonLabels": {"team": 1}},
    ],
    ids=str,
)
def test_a_value_that_means_nothing_is_refused(values: dict[str, Any]) -> None:
    with helm_python.Chart.load(str(OPERATOR_CHART)) as chart, pytest.raises(helm_python.HelmError):
        chart.validate_schema(chart.merge_values(values))


def test_every_default_value_is_in_the_schema() -> None:
    with helm_python.Chart.load(str(OPERATOR_CHART)) as chart:
        chart.validate_schema(chart.merge_values({}))


def test_definitions_can_be_left_to_somebody_else() -> None:
    kinds = {m["kind"] for m in render(OPERATOR_CHART, {"crds": {"create": False}})}

    assert "CustomResourceDefinition" not in kinds


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_pods_can_do_no_harm_to_their_node(name: str, pod: Manifest) -> None:
    security = pod["securityContext"]

    assert security["runAsNonRoot"] is True, name
    assert security["runAsUser"] >= 10000
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


def test_no_right_is_a_wildcard() -> None:
    for role in of_kind("ClusterRole") + of_kind("Role"):
        for rule in role["rules"]:
            granted = rule["apiGroups"] + rule["resources"] + rule["verbs"]
            assert "*" not in granted, role["metadata"]["name"]


def test_nobody_reads_the_secrets_of_the_cluster() -> None:
    for role in of_kind("ClusterRole"):
        for rule in role["rules"]:
            if "secrets" in rule["resources"]:
                assert set(rule["verbs"]) <= {"create", "delete"}, role["metadata"]["name"]


def test_only_one_role_can_be_handed_out() -> None:
    binding = [
        rule
        for role in of_kind("ClusterRole")
        for rule in role["rules"]
        if {"bind", "escalate", "impersonate"} & set(rule["verbs"])
    ]

    assert [(r["verbs"], r["resourceNames"]) for r in binding] == [
        (["bind"], ["shieldx-ledger-api"])
    ]


def test_every_pod_is_picked_by_a_network_policy_and_a_disruption_budget() -> None:
    for deployment in of_kind("Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        policies = [p["spec"]["podSelector"]["matchLabels"] for p in of_kind("NetworkPolicy")]
        budgets = [
            b["spec"]["selector"]["matchLabels"]
            for b in of_kind("PodDisruptionBudget")
            if b["spec"]["maxUnavailable"] == 1
        ]
        assert any(policy.items() <= labels for policy in policies)
        assert any(budget.items() <= labels for budget in budgets)
