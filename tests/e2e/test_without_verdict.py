"""Trials on a real cluster that come to no verdict: in time, without data, or asked anew."""

import json

import pytest

from tests.support.namespace import Namespace
from tests.support.trials import APP, LiveTrial

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ONCE = [0, 1, 0]  # the challenger's replicas of a trial that is refused in its first step


@pytest.fixture
def trial(namespace: Namespace) -> LiveTrial:
    return LiveTrial(namespace)


def test_what_is_undecided_in_time_is_held_and_goes_on_with_more_time(trial: LiveTrial) -> None:
    trial.install(maxDuration="16s")
    with trial.watched() as replicas:
        trial.release("v2")
        trial.until("Inconclusive")
        assert trial.status["reason"] == "Deadline"
        assert "raise spec.decision.maxDuration" in trial.status["decision"]
        held = trial.status["step"]["weight"]
        counted = trial.status["samples"]
        trial.world.wait("it is still measured", lambda: trial.status["samples"] > counted, 30)
        assert trial.phase == "Inconclusive"
        assert trial.status["step"]["weight"] == held

        decide(trial, maxDuration="1h")
        trial.until("Promoted")
    assert replicas == [0, 1, 2, 0]
    assert trial.outcomes() == ["Promoted"]


def test_what_is_undecided_in_time_is_refused_if_so_asked(trial: LiveTrial) -> None:
    trial.install(maxDuration="16s", onDeadline="rollback")
    trial.release("v2")
    trial.until("RolledBack")

    assert trial.outcomes() == ["Inconclusive"]
    assert "maxDuration of 16s is over" in trial.status["decision"]
    assert trial.target["spec"]["paused"] is True
    assert trial.versions() == ["v1", "v1"]


def test_what_cannot_be_measured_is_refused_if_so_asked(trial: LiveTrial) -> None:
    trial.install(noData="rollback", noDataAfter="10s")
    with trial.watched() as replicas:
        trial.release("v2", rate=0)
        trial.until("RolledBack")

    assert replicas == ONCE
    assert trial.outcomes() == ["NoData"]
    assert "for more than noDataAfter of 10s nothing could be counted" in trial.status["decision"]


def test_another_question_discards_the_evidence_and_the_next_try_may_risk_half(
    trial: LiveTrial,
) -> None:
    trial.install(minDuration="2m")
    trial.release("v2")
    trial.until("Stepping")
    trial.world.wait("something is counted", lambda: trial.status.get("samples", 0) > 0, 60)
    first = trial.status["runRef"]
    decide(trial, promotionRisk="2%")
    trial.world.wait("another run begins", lambda: trial.status.get("runRef", first) != first, 90)
    assert trial.status["samples"] == 0
    assert trial.status["attempt"] == 1

    # Nor is there a way round by another experiment of the same target.
    trial.world.kubectl("delete", "shadowexperiment", APP, "--timeout=60s")
    trial.release("v1")
    trial.world.kubectl("rollout", "resume", f"deployment/{APP}")
    trial.world.kubectl("rollout", "status", f"deployment/{APP}", "--timeout=120s")
    again = trial.manifest()
    trial.world.apply(again)
    trial.until("Idle")
    trial.release("v2")
    trial.until("Stepping")
    assert trial.status["attempt"] == 2
    reached = [each for each in trial.status["conditions"] if each["type"] == "TrafficVerified"]
    assert reached[0]["reason"] in {"Reached", "NotMeasured"}


def decide(trial: LiveTrial, **decision: str) -> None:
    patch = json.dumps({"spec": {"decision": decision}})
    trial.world.kubectl("patch", "shadowexperiment", APP, "--type=merge", f"--patch={patch}")
