"""What the gate does with a changed Deployment: hold it, or let it pass, and why."""

import copy
from typing import Any

from shieldx.webhook.gate import Answer, rule

type Json = dict[str, Any]

HOLD = [
    {"op": "add", "path": "/spec/paused", "value": True},
    {"op": "add", "path": "/metadata/annotations/shieldx.io~1held-by", "value": "trial"},
]


def deployment(image: str = "v1", **metadata: Any) -> Json:
    return {
        "metadata": {
            "name": "shop",
            "labels": {"shieldx.io/experiment": "trial"},
            "annotations": {"team": "shop"},
            **metadata,
        },
        "spec": {
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "shop", "image": image}]},
            }
        },
        "status": {
            "readyReplicas": 3,
            "conditions": [{"type": "Available", "status": "True"}],
        },
    }


def broken(image: str = "v1", **metadata: Any) -> Json:
    live = deployment(image, **metadata)
    live["status"] = {"conditions": [{"type": "Available", "status": "False"}]}
    return live


def test_a_changed_template_is_held_in_the_same_request() -> None:
    ruling = rule(deployment("v1"), deployment("v2"))

    assert (ruling.answer, ruling.patch) == (Answer.HELD, HOLD)


def test_a_deployment_without_annotations_gets_some_first() -> None:
    ruling = rule(deployment("v1"), deployment("v2", annotations=None))

    assert ruling.patch[1] == {"op": "add", "path": "/metadata/annotations", "value": {}}


def test_a_deployment_without_an_experiment_is_never_touched() -> None:
    ruling = rule(deployment("v1", labels={}), deployment("v2", labels={}))

    assert (ruling.answer, ruling.patch) == (Answer.NOT_UNDER_EXPERIMENT, [])


def test_a_restart_passes() -> None:
    new = deployment("v1")
    new["spec"]["template"]["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"
    }

    assert rule(deployment("v1"), new).answer is Answer.RESTART


def test_a_restart_together_with_a_change_is_held() -> None:
    new = deployment("v2")
    new["spec"]["template"]["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"
    }

    assert rule(deployment("v1"), new).answer is Answer.HELD


def test_an_annotation_of_the_template_is_a_change() -> None:
    new = deployment("v1")
    new["spec"]["template"]["metadata"]["annotations"] = {"config": "2"}

    assert rule(deployment("v1"), new).answer is Answer.HELD


def test_the_fix_of_a_champion_that_is_down_passes() -> None:
    ruling = rule(broken("v1"), deployment("v2"))

    assert (ruling.answer, ruling.patch) == (Answer.CHAMPION_DOWN, [])


def test_the_fix_of_a_champion_that_is_held_and_down_is_let_go() -> None:
    held = {"annotations": {"shieldx.io/held-by": "trial"}}
    new = deployment("v2", **held)
    new["spec"]["paused"] = True

    assert rule(broken("v1", **held), new).patch == [
        {"op": "remove", "path": "/metadata/annotations/shieldx.io~1held-by"},
        {"op": "remove", "path": "/spec/paused"},
    ]


def test_a_champion_that_is_down_and_paused_by_a_person_stays_theirs() -> None:
    new = deployment("v2")
    new["spec"]["paused"] = True

    ruling = rule(broken("v1"), new)

    assert (ruling.answer, ruling.patch) == (Answer.HELD_BEFORE, [])


def test_a_champion_without_a_ready_pod_is_down_whatever_its_conditions_say() -> None:
    old = deployment("v1")
    del old["status"]["readyReplicas"]

    assert rule(old, deployment("v2")).answer is Answer.CHAMPION_DOWN


def test_the_gate_changes_nothing_that_it_is_given() -> None:
    old, new = deployment("v1"), deployment("v2")
    before = copy.deepcopy((old, new))
    rule(old, new)

    assert (old, new) == before
