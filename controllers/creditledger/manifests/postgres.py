"""A managed shard: one Postgres, its address, its password, and who may reach it."""

from typing import Final

from controllers.creditledger.manifests.owner import (
    API,
    KEEPER,
    POSTGRES,
    POSTGRES_PORT,
    SECRETS_DIR,
    Manifest,
    Owner,
    Settings,
    container_security,
    disruption_budget,
    pod_security,
)
from shieldx.resources.creditledger import ManagedShard

POSTGRES_UID: Final = 10002


def postgres_secret(owner: Owner, shard: ManagedShard, password: str) -> Manifest:
    """Return the shard's password and address; created once, never applied again.

    It has no owner reference: deleting a ledger by accident must not lose the password of the
    data that is kept.
    """
    names = owner.names
    host = f"{names.shard(shard.name)}.{names.namespace}.svc"
    metadata = owner.metadata(names.secret(shard.name), POSTGRES)
    del metadata["ownerReferences"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "stringData": {
            "password": password,
            "dsn": f"postgresql://shieldx:{password}@{host}:{POSTGRES_PORT}/ledger",
        },
    }


def postgres(owner: Owner, shard: ManagedShard, settings: Settings) -> Manifest:
    """One Postgres on one volume, which outlives both pod and StatefulSet."""
    names = owner.names
    claim: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": shard.storage}},
    }
    if shard.storage_class is not None:
        claim["storageClassName"] = shard.storage_class
    probe = ["pg_isready", "--quiet", "--host=127.0.0.1", "--username=shieldx", "--dbname=ledger"]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": owner.metadata(names.shard(shard.name), POSTGRES),
        "spec": {
            "serviceName": names.shard(shard.name),
            "replicas": 1,
            "selector": {"matchLabels": names.selector(POSTGRES)},
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Retain",
                "whenScaled": "Retain",
            },
            "template": {
                "metadata": {"labels": names.labels(POSTGRES)},
                "spec": {
                    **pod_security(POSTGRES_UID),
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 60,
                    "containers": [
                        {
                            "name": "postgres",
                            "image": settings.postgres_image,
                            "imagePullPolicy": settings.pull_policy,
                            "securityContext": container_security(),
                            "env": [
                                {"name": "POSTGRES_DB", "value": "ledger"},
                                {"name": "POSTGRES_USER", "value": "shieldx"},
                            ],
                            "ports": [{"name": "postgres", "containerPort": POSTGRES_PORT}],
                            "resources": dict(shard.resources),
                            "startupProbe": {
                                "exec": {"command": probe},
                                "periodSeconds": 2,
                                "failureThreshold": 150,
                            },
                            "readinessProbe": {
                                "exec": {"command": probe},
                                "periodSeconds": 5,
                                "timeoutSeconds": 3,
                            },
                            "livenessProbe": {
                                "exec": {"command": probe},
                                "periodSeconds": 10,
                                "timeoutSeconds": 5,
                                "failureThreshold": 6,
                            },
                            "volumeMounts": [
                                {"name": "data", "mountPath": "/var/lib/postgresql/data"},
                                {"name": "secret", "mountPath": SECRETS_DIR, "readOnly": True},
                                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod.
                                {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - as above.
                            ],
                        }
                    ],
                    "volumes": [
                        {
                            "name": "secret",
                            "secret": {
                                "secretName": names.secret(shard.name),
                                "items": [{"key": "password", "path": "password"}],
                            },
                        },
                        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
                    ],
                },
            },
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }


def postgres_service(owner: Owner, shard: ManagedShard) -> Manifest:
    """The shard's address."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(owner.names.shard(shard.name), POSTGRES),
        "spec": {
            "selector": owner.names.selector(POSTGRES),
            "ports": [{"name": "postgres", "port": POSTGRES_PORT, "targetPort": "postgres"}],
        },
    }


def postgres_disruption_budget(owner: Owner, shard: ManagedShard) -> Manifest:
    """Let a node be drained: the one instance moves nowhere by itself, but must not block it."""
    return disruption_budget(owner, owner.names.shard(shard.name), POSTGRES)


def postgres_network_policy(owner: Owner, shard: ManagedShard) -> Manifest:
    """Nobody but this ledger's API and keeper reaches its Postgres, which reaches nobody."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": owner.metadata(owner.names.shard(shard.name), POSTGRES),
        "spec": {
            "podSelector": {"matchLabels": owner.names.selector(POSTGRES)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [
                        {"podSelector": {"matchLabels": owner.names.selector(component)}}
                        for component in (API, KEEPER)
                    ],
                    "ports": [{"protocol": "TCP", "port": POSTGRES_PORT}],
                }
            ],
            "egress": [],
        },
    }
