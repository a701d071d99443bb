"""How a pod that names a ledger gets the relay beside its containers; pure.

A pod asks with the annotation `shieldx.io/ledger: NAME`. The relay becomes its first init container
that goes on running (a native sidecar): everything else starts after it and ends before it, and a
Job does not wait for it. It shows the pod's own service account to the ledger and gets no secret.
The patch is judged by what is there already, so that a second look changes nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shieldx.resources.relay import CONTAINER, LEDGER_ANNOTATION, METRICS_PORT
from shieldx.webhook.gate import Patch

VOLUME: Final = "shieldx-ledger-token"
API_PORT: Final = 5004
METRICS_PORTS: Final = range(9090, 9100)
TOKEN_FOLDER: Final = "/var/run/secrets/shieldx.io"  # noqa: S105 - a path.
AUDIENCE: Final = "shieldx"
TOKEN_SECONDS: Final = 3600
UID: Final = 10001
LEDGER_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Relay:
    """What the installation decides for every relay."""

    image: str
    pull_policy: str = "IfNotPresent"


class PodError(Exception):
    """The pod cannot have what it asks for; the message says what to change."""


def asked_ledger(pod: Mapping[str, Any]) -> str | None:
    """Return the ledger that a pod names, or None; PodError if that is no name."""
    annotations = pod["metadata"].get("annotations") or {}
    ledger = annotations.get(LEDGER_ANNOTATION)
    if ledger is None:
        return None
    if not LEDGER_NAME.fullmatch(ledger):
        raise PodError(
            f"annotation {LEDGER_ANNOTATION}: {ledger[:80]!r} is not the name of a CreditLedger; "
            "name one of this pod's namespace, such as credits"
        )
    return str(ledger)


def inject(pod: Mapping[str, Any], namespace: str, ledger: str, relay: Relay) -> Patch:
    """Return what makes the relay of `ledger` the pod's first container, or PodError."""
    spec = pod["spec"]
    others = [
        container
        for field in ("initContainers", "containers")
        for container in spec.get(field) or []
        if container["name"] != CONTAINER
    ]
    if spec.get("hostNetwork"):
        raise PodError(
            f"a pod with hostNetwork cannot have the relay of annotation {LEDGER_ANNOTATION}: each "
            "process of the node would reach the ledger in its name; remove hostNetwork, or the "
            f"annotation, and call http://{ledger}-api.{namespace}.svc:{API_PORT} with a token"
        )
    container = _container(
        f"http://{ledger}-api.{namespace}.svc:{API_PORT}", _metrics_port(others), relay
    )
    return [
        *_at_front(spec, "initContainers", container),
        *_at_front(spec, "volumes", _token()),
    ]


def _metrics_port(containers: Sequence[Mapping[str, Any]]) -> int:
    """Return the usual port, or the next one that no container of the pod claims."""
    taken = {
        port["containerPort"]
        for container in containers
        for port in container.get("ports") or []
        if port.get("protocol", "TCP") == "TCP"
    }
    if API_PORT in taken:
        raise PodError(
            f"a container of the pod claims port {API_PORT}, on which the relay of annotation "
            f"{LEDGER_ANNOTATION} listens: move it to another port"
        )
    free = next((port for port in METRICS_PORTS if port not in taken), None)
    if free is None:
        raise PodError(
            f"the containers of the pod claim all of the ports {METRICS_PORTS.start} to "
            f"{METRICS_PORTS.stop - 1}, of which the relay needs one: free one of them"
        )
    return free


def _at_front(spec: Mapping[str, Any], field: str, wanted: Mapping[str, Any]) -> Patch:
    present = spec.get(field) or []
    if present and present[0] == wanted:
        return []
    rest = [one for one in present if one["name"] != wanted["name"]]
    return [{"op": "add", "path": f"/spec/{field}", "value": [wanted, *rest]}]


def _container(upstream: str, metrics_port: int, relay: Relay) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": relay.image,
        "imagePullPolicy": relay.pull_policy,
        "restartPolicy": "Always",
        "args": [
            "sidecar",
            "--relay",
            f"--upstream={upstream}",
            f"--token-file={TOKEN_FOLDER}/token",
            f"--port={API_PORT}",
            f"--metrics-port={metrics_port}",
        ],
        "ports": [{"name": METRICS_PORT, "containerPort": metrics_port, "protocol": "TCP"}],
        "startupProbe": _probe("/health", metrics_port, period=1, failures=60),
        "readinessProbe": _probe("/ready", metrics_port, period=5, failures=3),
        "livenessProbe": _probe("/health", metrics_port, period=10, failures=3),
        "resources": {
            "requests": {"cpu": "20m", "memory": "96Mi"},
            "limits": {"memory": "256Mi"},
        },
        # All of it, whatever the pod itself says: its own user may be one that reads less or more.
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True}],
    }


def _token() -> dict[str, Any]:
    """Who the pod is, said to ledgers only: the token is worth nothing anywhere else."""
    source = {"path": "token", "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS}
    return {"name": VOLUME, "projected": {"sources": [{"serviceAccountToken": source}]}}


def _probe(path: str, port: int, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
