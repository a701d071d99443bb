"""Experiments on a real cluster: trials, killed operators, and what must never be touched."""

import pytest

from tests.support.cluster.errors import ClusterError
from tests.support.install import NAMESPACE as OPERATOR_NAMESPACE
from tests.support.namespace import Namespace
from tests.support.trials import APP, LiveTrial, deployment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

LABEL = "shieldx.io/experiment"
GOOD = [0, 1, 2, 0]  # the challenger's replicas of a promotion, by the test's own watch


@pytest.fixture
def trial(namespace: Namespace) -> LiveTrial:
    trial = LiveTrial(namespace)
    trial.install()
    return trial


def test_a_bad_version_is_rolled_back_and_its_fix_promoted(trial: LiveTrial) -> None:
    with trial.watched() as replicas:
        trial.release("bad", error_rate=0.2)
        trial.until("Stepping")
        # Git applies what it has again and again: the pause is not its business.
        trial.release("bad", error_rate=0.2)
        assert trial.target["spec"]["paused"] is True
        assert trial.target["status"]["replicas"] == 2  # the challenger's pods are not the target's
        trial.until("RolledBack")
    assert replicas in ([0, 1, 0], GOOD)
    assert trial.versions() == ["v1", "v1"]
    assert "errors got worse than tolerated" in trial.status["decision"]

    with trial.watched() as replicas:
        trial.release("v2")
        trial.until("Promoted")
    assert replicas == GOOD
    assert trial.versions() == ["v2", "v2"]
    assert "paused" not in trial.target["spec"]
    assert trial.outcomes() == ["RolledBack", "Promoted"]


def test_a_revert_of_a_refused_version_resumes_by_itself(trial: LiveTrial) -> None:
    trial.release("bad", error_rate=0.2)
    trial.until("RolledBack")
    trial.release("v1")
    trial.until("Idle")

    trial.world.wait("the pause is over", lambda: "paused" not in trial.target["spec"], 20)
    assert trial.versions() == ["v1", "v1"]


def test_an_operator_killed_while_stepping_changes_no_weight_and_ends_the_same(
    trial: LiveTrial,
) -> None:
    with trial.watched() as replicas:
        trial.release("v2")
        trial.until("Stepping")
        trial.kill_operator()
        trial.until("Promoted")

    assert replicas == GOOD
    assert trial.versions() == ["v2", "v2"]


def test_an_operator_killed_while_promoting_changes_no_weight_and_ends_the_same(
    trial: LiveTrial,
) -> None:
    with trial.watched() as replicas:
        trial.release("v2")
        trial.until("Promoting")
        trial.kill_operator()
        trial.until("Promoted")

    assert replicas == GOOD
    assert trial.versions() == ["v2", "v2"]
    assert trial.outcomes() == ["Promoted"]


def test_a_restart_is_no_challenger(trial: LiveTrial) -> None:
    before = pods(trial)
    trial.world.kubectl("rollout", "restart", f"deployment/{APP}")
    trial.world.kubectl("rollout", "status", f"deployment/{APP}", "--timeout=120s")

    trial.world.wait("the old pods are gone", lambda: not before & pods(trial), 60)
    assert trial.phase == "Idle"
    assert trial.outcomes() == []


def test_a_broken_champion_never_holds_up_its_fix(trial: LiveTrial) -> None:
    for pod in pods(trial):
        trial.world.kubectl("exec", pod, "--", "touch", "/tmp/broken")  # noqa: S108 - in the pod.
    trial.world.wait(
        "the champion is down", lambda: not trial.target["status"].get("readyReplicas")
    )
    trial.release("v2")
    trial.world.kubectl("rollout", "status", f"deployment/{APP}", "--timeout=120s")
    trial.until("Promoted")

    assert trial.outcomes() == ["Passed"]
    assert "the champion was not available" in trial.status["decision"]
    assert says(trial, "Passed without a verdict")


def test_a_challenger_that_never_gets_ready_fails_with_its_pods_own_reason(
    trial: LiveTrial,
) -> None:
    trial.release("v2", ready=False)
    trial.until("RolledBack")

    assert trial.outcomes() == ["Failed"]
    assert "progressDeadlineSeconds of 30: pod app-challenger-" in trial.status["decision"]
    assert trial.versions() == ["v1", "v1"]


def test_a_deployment_without_an_experiment_is_never_touched(namespace: Namespace) -> None:
    plain = LiveTrial(namespace)
    plain.install(experiment=False)
    plain.release("v2")
    namespace.kubectl("rollout", "status", f"deployment/{APP}", "--timeout=120s")

    assert plain.versions() == ["v2", "v2"]
    assert LABEL not in plain.target["metadata"].get("labels", {})
    assert "paused" not in plain.target["spec"]


def test_without_the_webhook_only_deployments_under_experiment_have_to_wait(
    trial: LiveTrial,
) -> None:
    def scale(replicas: int) -> None:
        trial.world.cluster.kubectl(
            f"--namespace={OPERATOR_NAMESPACE}",
            *("scale", "deployment/shieldx-webhook", f"--replicas={replicas}"),
        )
        trial.world.cluster.kubectl(
            f"--namespace={OPERATOR_NAMESPACE}",
            *("rollout", "status", "deployment/shieldx-webhook", "--timeout=120s"),
        )

    other = {"VERSION": "o1", "ERROR_RATE": "0"}
    plain = deployment(other, name="plain")
    plain["spec"]["selector"] = {"matchLabels": {"app": "plain"}}
    plain["spec"]["template"]["metadata"]["labels"] = {"app": "plain"}
    trial.world.apply(plain)
    scale(0)
    try:
        trial.world.wait("its address is gone", lambda: no_webhook(trial), 60)
        plain["spec"]["template"]["metadata"]["labels"]["changed"] = "yes"
        trial.world.apply(plain)
        trial.world.kubectl("scale", f"deployment/{APP}", "--replicas=3")
        with pytest.raises(ClusterError, match=r"gate\.shieldx\.io"):
            trial.release("v2")
    finally:
        scale(2)
    trial.world.kubectl("scale", f"deployment/{APP}", "--replicas=2")
    trial.release("v2")
    trial.until("Promoted")


def test_an_experiment_that_is_deleted_undecided_leaves_the_deployment_paused(
    trial: LiveTrial,
) -> None:
    trial.release("v2")
    trial.until("Stepping")
    trial.world.kubectl("delete", "shadowexperiment", APP, "--timeout=60s")

    assert trial.target["spec"]["paused"] is True
    assert LABEL not in trial.target["metadata"].get("labels", {})
    assert trial.world.get("deployment", f"{APP}-challenger") is None
    trial.world.wait("an event says how to go on", lambda: says(trial, "rollout resume"), 30)

    trial.world.kubectl("rollout", "resume", f"deployment/{APP}")
    trial.world.kubectl("rollout", "status", f"deployment/{APP}", "--timeout=120s")
    assert trial.versions() == ["v2", "v2"]


def test_an_idle_experiment_that_is_deleted_leaves_nothing_behind(trial: LiveTrial) -> None:
    trial.world.kubectl("delete", "shadowexperiment", APP, "--timeout=60s")
    trial.release("v2")
    trial.world.kubectl("rollout", "status", f"deployment/{APP}", "--timeout=120s")

    assert LABEL not in trial.target["metadata"].get("labels", {})
    assert trial.versions() == ["v2", "v2"]


def test_a_namespace_with_a_trial_in_it_can_be_deleted(trial: LiveTrial) -> None:
    trial.release("v2")
    trial.until("Stepping")
    trial.world.remove()

    assert not trial.world.cluster.kubectl(
        "get", "namespace", trial.world.name, "--ignore-not-found"
    )


def test_a_finished_record_cannot_be_changed(trial: LiveTrial) -> None:
    trial.release("v2", ready=False)
    trial.until("RolledBack")
    name = trial.status["runRef"]

    with pytest.raises(ClusterError, match="is a record and cannot be changed"):
        trial.world.kubectl(
            "patch",
            *("experimentrun", name, "--subresource=status", "--type=merge"),
            '--patch={"status":{"outcome":"Promoted"}}',
        )


def says(trial: LiveTrial, words: str) -> bool:
    return any(words in event["message"] for event in trial.world.events(APP))


def pods(trial: LiveTrial) -> set[str]:
    told = trial.world.kubectl("get", "pods", f"--selector=app={APP}", "--output=name")
    return set(told.split())


def no_webhook(trial: LiveTrial) -> bool:
    told = trial.world.cluster.kubectl(
        f"--namespace={OPERATOR_NAMESPACE}",
        *("get", "endpointslices", "--selector=kubernetes.io/service-name=shieldx-webhook"),
        "--output=jsonpath={.items[*].endpoints[*].addresses}",
    )
    return not told.strip()
