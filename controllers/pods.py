"""What pods say of themselves when they do not come up, in their own words."""

from collections.abc import Callable, Iterable
from typing import Final

from shieldx.kube import Manifest

# What the kubelet says of a container that will not start by itself.
HOPELESS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "CrashLoopBackOff",
        "RunContainerError",
    }
)


def stuck(pod: Manifest) -> str | None:
    """Return why a pod will not start by itself, or None."""
    status = pod.get("status", {})
    for container in (
        *status.get("initContainerStatuses", []),
        *status.get("containerStatuses", []),
    ):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in HOPELESS:
            last = container.get("lastState", {}).get("terminated", {})
            exited = f", last exit code {last['exitCode']}" if "exitCode" in last else ""
            return f"is in {waiting['reason']}{exited}: {waiting.get('message', '')}".rstrip(": ")
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"cannot be scheduled: {scheduled.get('message', '')}"
    return None


def first_trouble(
    pods: Iterable[Manifest], says: Callable[[Manifest], str | None] = stuck
) -> str | None:
    """Return what the first pod in trouble, by name, says of itself, or None."""
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        if said := says(pod):
            return f"pod {pod['metadata']['name']} {said}"
    return None


def condition(pod: Manifest, kind: str) -> Manifest:
    """Return one of a pod's conditions; empty where it has none of that kind."""
    conditions: list[Manifest] = pod.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})
