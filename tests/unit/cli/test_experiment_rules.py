"""A file is refused for whatever the API server would refuse it for, in the same words."""

import pytest

from shieldx.cli.experiment_file import ExperimentFileError, experiment_of
from shieldx.cli.experiment_rules import is_known, rules_of
from tests.e2e.test_crd_validation import CREATED, EXPERIMENT, MINIMAL, SHAPES, Case, changed
from tests.support.crds import load_crds, schema_of

BROKEN = [case for case in CREATED if case.kind == EXPERIMENT]
MISSHAPEN = [case for case in SHAPES if case.kind == EXPERIMENT]


def test_every_rule_of_the_definition_is_known() -> None:
    rules = list(rules_of(schema_of(load_crds()[EXPERIMENT])))

    assert [rule for rule in rules if not is_known(rule)] == []


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_what_breaks_a_rule_is_refused_in_its_words(case: Case) -> None:
    with pytest.raises(ExperimentFileError) as refused:
        experiment_of(changed(MINIMAL[EXPERIMENT], case.path, case.value), "file.yaml")

    assert case.says in str(refused.value)
    assert str(refused.value).startswith("file.yaml: ")


@pytest.mark.parametrize("case", MISSHAPEN, ids=lambda case: case.name)
def test_what_has_another_shape_is_refused(case: Case) -> None:
    with pytest.raises(ExperimentFileError):
        experiment_of(changed(MINIMAL[EXPERIMENT], case.path, case.value), "file.yaml")


def test_a_selector_that_is_none_is_refused() -> None:
    path = "spec.metrics.guardrails.0.bad"

    with pytest.raises(ExperimentFileError, match="as Prometheus has them"):
        experiment_of(changed(MINIMAL[EXPERIMENT], path, 'code=~"("'), "file.yaml")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.decision.bucket", "10m"),
        ("spec.decision.rollbackRisk", "20%"),
        ("spec.strategy.steps.0.weight", 1),
        ("spec.decision", {"minDuration": "1h", "maxDuration": "1h"}),
        ("spec.decision", {"noData": "rollback", "noDataAfter": "30s", "bucket": "10s"}),
        ("spec.metrics.guardrails.0.bad", 'code=~"5..",path!="a\\"b"'),
        ("metadata.name", "x" * 40),
    ],
)
def test_what_just_fits_is_taken(path: str, value: object) -> None:
    given = changed(MINIMAL[EXPERIMENT], path, value)

    assert experiment_of(given, "file.yaml").spec.guardrails
