"""The only door to the Kubernetes API."""

from shieldx.kube.cluster import (
    Cluster,
    ConflictError,
    Identity,
    KubeError,
    Manifest,
    NamespaceTerminatingError,
    UnreachableError,
    current_namespace,
)

__all__ = [
    "Cluster",
    "ConflictError",
    "Identity",
    "KubeError",
    "Manifest",
    "NamespaceTerminatingError",
    "UnreachableError",
    "current_namespace",
]
