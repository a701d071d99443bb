"""The definitions are structural, every field is described, and every example is valid."""

from pathlib import Path

import jsonschema
import pytest

from tests.support.crds import (
    Json,
    defaulted,
    examples,
    load_crds,
    nodes,
    schema_of,
    strict,
)

CRDS = load_crds()
BY_KIND = pytest.mark.parametrize("crd", CRDS.values(), ids=CRDS.keys())
EXAMPLES = list(examples())
TYPES = {"object", "array", "string", "integer", "number", "boolean"}
KEYWORDS = {
    *("additionalProperties", "anyOf", "default", "description", "enum", "format", "items"),
    *("maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "nullable"),
    *("maxProperties", "pattern", "properties", "required", "type"),
    *("x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type"),
    *("x-kubernetes-map-type", "x-kubernetes-preserve-unknown-fields"),
    "x-kubernetes-validations",
}
IMPLIED = {"", ".apiVersion", ".kind", ".metadata"}


@BY_KIND
def test_every_node_of_a_schema_is_structural(crd: Json) -> None:
    for path, node in nodes(schema_of(crd)):
        if not node.get("x-kubernetes-int-or-string"):
            assert node.get("type") in TYPES, f"{path} has no type"
        assert not ({"properties", "additionalProperties"} <= node.keys()), path
        assert path in IMPLIED or node.keys() <= KEYWORDS, f"{path}: {node.keys() - KEYWORDS}"


@BY_KIND
def test_every_field_says_what_it_is_for(crd: Json) -> None:
    silent = [
        path
        for path, node in nodes(schema_of(crd))
        if path not in IMPLIED and not path.endswith(("[]", "{}")) and not node.get("description")
    ]

    assert silent == []


@BY_KIND
def test_every_default_is_itself_valid(crd: Json) -> None:
    for path, node in nodes(schema_of(crd)):
        if "default" in node:
            value = defaulted(node, node["default"])
            assert list(jsonschema.Draft202012Validator(strict(node)).iter_errors(value)) == [], (
                path
            )


@BY_KIND
def test_every_rule_says_what_to_do(crd: Json) -> None:
    for path, node in nodes(schema_of(crd)):
        for rule in node.get("x-kubernetes-validations", []):
            assert rule.get("message") or rule.get("messageExpression"), f"{path}: {rule['rule']}"


@BY_KIND
def test_every_list_says_how_it_is_merged(crd: Json) -> None:
    for path, node in nodes(schema_of(crd)):
        if node.get("type") == "array":
            assert node.get("x-kubernetes-list-type") in {"map", "set", "atomic"}, path


@BY_KIND
def test_status_is_a_subresource_and_the_kind_is_found_with_the_others(crd: Json) -> None:
    (version,) = crd["spec"]["versions"]

    assert version["subresources"] == {"status": {}}
    assert "shieldx" in crd["spec"]["names"]["categories"]
    assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"


@pytest.mark.parametrize(("file", "example"), EXAMPLES, ids=[file.name for file, _ in EXAMPLES])
def test_every_example_is_valid(file: Path, example: Json) -> None:
    schema = schema_of(CRDS[example["kind"]])

    problems = [
        f"{'.'.join(str(part) for part in problem.absolute_path)}: {problem.message}"
        for problem in jsonschema.Draft202012Validator(strict(schema)).iter_errors(
            defaulted(schema, example)
        )
    ]

    assert problems == [], file.name


@pytest.mark.parametrize(
    "wrong",
    [{"shard": []}, {"shards": []}, {"shards": [{"name": "s0"}]}, {"shards": [{"name": "S0"}]}],
    ids=str,
)
def test_a_wrong_ledger_is_not_valid(wrong: Json) -> None:
    schema = schema_of(CRDS["CreditLedger"])
    ledger = {
        "apiVersion": "shieldx.io/v1alpha1",
        "kind": "CreditLedger",
        "metadata": {"name": "credits"},
        "spec": {"shards": [{"name": "s0", "managed": {}}], **wrong},
    }

    problems = jsonschema.Draft202012Validator(strict(schema)).iter_errors(
        defaulted(schema, ledger)
    )

    assert list(problems)


def test_every_kind_has_an_example() -> None:
    assert {example["kind"] for _, example in EXAMPLES} == CRDS.keys()
