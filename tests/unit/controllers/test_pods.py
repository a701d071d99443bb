"""What a pod says of itself when it will not come up."""

from typing import Any

import pytest

from controllers.pods import first_trouble


def pod(name: str = "p", *, waiting: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    state = {"waiting": waiting} if waiting else {"running": {}}
    return {
        "metadata": {"name": name},
        "status": {"containerStatuses": [{"state": state}], **status},
    }


def test_pods_that_run_or_start_are_no_trouble() -> None:
    assert (
        first_trouble(
            [pod(), pod(waiting={"reason": "ContainerCreating"}), {"metadata": {"name": "n"}}]
        )
        is None
    )


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff"])
def test_a_pod_that_waits_in_vain_is_quoted(reason: str) -> None:
    said = first_trouble([pod(), pod("q", waiting={"reason": reason, "message": "no such image"})])

    assert said == f"pod q is in {reason}: no such image"


def test_a_pod_that_fits_nowhere_is_quoted() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}

    said = first_trouble([pod(conditions=[condition])])

    assert said == "pod p cannot be scheduled: 0/2 nodes are available"


def test_the_exit_code_of_the_last_try_is_told() -> None:
    crashed = pod("q", waiting={"reason": "CrashLoopBackOff", "message": "back-off"})
    (container,) = crashed["status"]["containerStatuses"]
    container["lastState"] = {"terminated": {"exitCode": 137}}

    assert first_trouble([crashed]) == "pod q is in CrashLoopBackOff, last exit code 137: back-off"
