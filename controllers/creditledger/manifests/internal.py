"""The internal port: on it the processes of a ledger hand their writes to the one that writes."""

from typing import Final

from controllers.creditledger.manifests.owner import API, KEEPER, Manifest, Owner

INTERNAL_PORT: Final = 5006
INTERNAL_DIR: Final = "/run/secrets/shieldx-internal"
AUDIENCE: Final = "shieldx-internal"
TOKEN_SECONDS: Final = 3600


def ingress(owner: Owner) -> Manifest:
    """Let the ledger's own API pods and keeper reach the port, and nobody else."""
    selectors = [owner.names.selector(component) for component in (API, KEEPER)]
    return {
        "from": [{"podSelector": {"matchLabels": labels}} for labels in selectors],
        "ports": [{"protocol": "TCP", "port": INTERNAL_PORT}],
    }


def egress(owner: Owner) -> Manifest:
    """Let a process reach the port of the ledger's API pods."""
    return {
        "to": [{"podSelector": {"matchLabels": owner.names.selector(API)}}],
        "ports": [{"protocol": "TCP", "port": INTERNAL_PORT}],
    }


def admit(manifest: Manifest) -> None:
    """Give a Deployment's process the token that opens the port of another one."""
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    pod["volumes"].append(
        {"name": "internal", "projected": {"sources": [{"serviceAccountToken": token}]}}
    )
    container["volumeMounts"].append(
        {"name": "internal", "mountPath": INTERNAL_DIR, "readOnly": True}
    )
    container["args"].append(f"--token-file={INTERNAL_DIR}/token")


def listen(manifest: Manifest, owner: Owner) -> None:
    """Let a Deployment's process open the port to the ledger's own service accounts."""
    names = owner.names
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    container["args"] += [
        f"--internal-port={INTERNAL_PORT}",
        *(f"--peer={names.namespace}:{name}" for name in (names.api, names.keeper)),
    ]
    container["ports"].append({"name": "internal", "containerPort": INTERNAL_PORT})
    container.setdefault("env", []).append(
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    )
