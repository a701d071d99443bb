"""Whom the objects of a ledger belong to, what the installation decides, how pods are secured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controllers.creditledger.names import Names
from shieldx.resources.creditledger import API_VERSION, KIND

type Manifest = dict[str, Any]

POSTGRES, API, KEEPER = "postgres", "api", "keeper"
POSTGRES_PORT: Final = 5432
SECRETS_DIR: Final = "/run/secrets/shieldx"
RECEIPT_KEYS_DIR: Final = "/run/secrets/shieldx-receipt-keys"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator's own installation decides for every ledger."""

    image: str
    postgres_image: str
    pull_policy: str
    operator_account: str  # namespace:name of the service account that may read the keeper

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the variables that the chart sets on the operator's pod."""
        return cls(
            image=environment["SHIELDX_IMAGE"],
            postgres_image=environment["SHIELDX_POSTGRES_IMAGE"],
            pull_policy=environment.get("SHIELDX_IMAGE_PULL_POLICY", "IfNotPresent"),
            operator_account=environment["SHIELDX_OPERATOR_ACCOUNT"],
        )


@dataclass(frozen=True, slots=True)
class Owner:
    """The CreditLedger that the objects belong to."""

    names: Names
    uid: str

    def metadata(self, name: str, component: str) -> Manifest:
        return {
            "namespace": self.names.namespace,
            "name": name,
            "labels": self.names.labels(component),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": self.names.ledger,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }


def disruption_budget(owner: Owner, name: str, component: str) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": owner.metadata(name, component),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": owner.names.selector(component)},
        },
    }


def pod_security(uid: int) -> Manifest:
    return {
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "runAsGroup": uid,
            "fsGroup": uid,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def leaving_lost_nodes() -> list[Manifest]:
    """Tolerations of what keeps no state: it is started elsewhere half a minute after a loss."""
    return [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    ]


def container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
