"""The only door to the Kubernetes API."""

from shieldx.kube.cluster import (
    Cluster,
    ConflictError,
    Identity,
    KubeError,
    Manifest,
    NamespaceTerminatingError,
    UnreachableError,
)

__all__ = [
    "Cluster",
    "ConflictError",
    "Identity",
    "KubeError",
    "Manifest",
    "NamespaceTerminatingError",
    "UnreachableError",
]
