"""Carry out a plan, or let a ledger go. Every write may be the last: each can be repeated."""

import base64
import secrets
from typing import Final

from controllers.creditledger.manifests import Owner, postgres_secret, receipt_keys
from controllers.creditledger.names import Names
from controllers.creditledger.plan import Plan
from shieldx.kube import Cluster, ConflictError, KubeError, Manifest, NamespaceTerminatingError
from shieldx.resources.creditledger import API_VERSION, KIND, CreditLedgerSpec, DeletionPolicy

PASSWORD_BYTES: Final = 32


class NameTakenError(KubeError):
    """An object that a ledger needs exists under its name, and is somebody else's."""


async def act(cluster: Cluster, names: Names, uid: str, plan: Plan) -> None:
    """Apply what is planned, then say what is known; a namespace that ends is left alone.

    NameTakenError if that would overwrite an object that is not the ledger's.
    """
    try:
        # Secrets are created where there is none, else left: the operator may not read them.
        for shard in plan.passwords:
            password = secrets.token_urlsafe(PASSWORD_BYTES)
            await cluster.create(postgres_secret(Owner(names, uid), shard, password))
        if plan.passwords:
            key = base64.b64encode(secrets.token_bytes(PASSWORD_BYTES)).decode()
            await cluster.create(receipt_keys(Owner(names, uid), key))
        for manifest in plan.apply:
            await apply_own(cluster, manifest)
        await write_status(cluster, names, plan)
    except NamespaceTerminatingError:
        return


async def apply_own(cluster: Cluster, manifest: Manifest) -> None:
    """Apply an object; what others changed in it is repaired, but only if it is the ledger's."""
    try:
        await cluster.apply(manifest, force=False)
    except ConflictError:
        metadata = manifest["metadata"]
        live = await cluster.get(
            manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"]
        )
        if live is not None and not same_owner(manifest, live):
            msg = f"{manifest['kind']} {metadata['name']} exists and is not this ledger's"
            raise NameTakenError(f"{msg}: delete it, or give the ledger another name") from None
        await cluster.apply(manifest)


def same_owner(manifest: Manifest, live: Manifest) -> bool:
    """Return whether the live object belongs to whom the manifest says; or says so by labels."""
    wanted, found = manifest["metadata"], live["metadata"]
    if "ownerReferences" in wanted:
        return _owners(wanted) <= _owners(found)
    return all(
        found.get("labels", {}).get(key) == wanted["labels"][key] for key in wanted["labels"]
    )


def _owners(metadata: Manifest) -> set[str]:
    return {owner["uid"] for owner in metadata.get("ownerReferences", [])}


async def write_status(cluster: Cluster, names: Names, plan: Plan) -> None:
    await cluster.patch(
        API_VERSION,
        KIND,
        names.namespace,
        names.ledger,
        {"status": plan.status},
        subresource="status",
    )


async def release(cluster: Cluster, names: Names, spec: CreditLedgerSpec) -> str:
    """Remove what no owner reference removes; return where the data is, or that it is gone."""
    await cluster.delete(
        "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", None, names.token_review_binding
    )
    claims = ", ".join(names.volume_claim(shard.name) for shard in spec.shards)
    passwords = ", ".join(names.secret(shard.name) for shard in spec.shards)
    keys = names.receipt_keys
    if spec.deletion_policy is DeletionPolicy.RETAIN:
        return (
            f"Data kept in PersistentVolumeClaim {claims}, passwords in Secret {passwords}, "
            f"receipt keys in Secret {keys}: a CreditLedger {names.ledger} with the same shards "
            "takes them up again"
        )
    for shard in spec.shards:
        await cluster.delete(
            "apps/v1",
            "StatefulSet",
            names.namespace,
            names.shard(shard.name),
            propagation="Foreground",
        )
        await cluster.delete(
            "v1", "PersistentVolumeClaim", names.namespace, names.volume_claim(shard.name)
        )
        await cluster.delete("v1", "Secret", names.namespace, names.secret(shard.name))
    await cluster.delete("v1", "Secret", names.namespace, keys)
    return f"Data deleted with PersistentVolumeClaim {claims}, Secret {passwords} and {keys}"
