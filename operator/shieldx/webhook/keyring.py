"""Keep the webhook's certificates in Secrets that its replicas share, and tell the API server.

The order matters during a rotation: a new authority is published beside the old one first, and
signs the leaf only on a later look, when callers have had time to hear of it.
"""

import base64
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from shieldx.kube import Cluster, ConflictError, KubeError, Manifest
from shieldx.webhook.certificates import Pair, Trust

logger = logging.getLogger(__name__)

AUTHORITY_SECRET: Final = "shieldx-webhook-authority"  # noqa: S105 - a name.
LEAF_SECRET: Final = "shieldx-webhook-leaf"  # noqa: S105 - a name.
SERVICE: Final = "shieldx-webhook"
CONFIGURATION: Final = "shieldx-webhook"
CONFIGURATION_KIND: Final = ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration")


@dataclass(frozen=True, slots=True)
class Keys:
    """What the server serves with, and what its callers trust."""

    leaf: Pair
    bundle: bytes


class Keyring:
    """Reads, makes and renews the certificates of one installation."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    async def refresh(self, now: datetime) -> Keys:
        """Return valid keys, made or renewed where needed, with the API server told of them."""
        trust, published = await self._trust(now)
        leaf = await self._leaf(trust, now, published=published)
        await self._tell(trust.bundle)
        return Keys(leaf, trust.bundle)

    async def _trust(self, now: datetime) -> tuple[Trust, bool]:
        """Return the authorities, and whether callers have known the current one for a while."""
        secret = await self._secret(AUTHORITY_SECRET)
        if secret is None:
            trust = Trust(Pair.authority(now))
            if await self._create(AUTHORITY_SECRET, _trust_data(trust)):
                return trust, True
            secret = await self._secret(AUTHORITY_SECRET)
            if secret is None:
                raise KubeError(f"Secret {AUTHORITY_SECRET} exists and cannot be read")
        data = _data(secret)
        trust = Trust(Pair(data["tls.crt"], data["tls.key"]), data.get("previous.crt", b""))
        renewed = trust.renewed(now)
        if renewed is trust:
            return trust, True
        logger.info("Replaced the webhook's certificate authority; both are trusted for now")
        await self._write(secret, _trust_data(renewed))
        return renewed, False

    async def _leaf(self, trust: Trust, now: datetime, *, published: bool) -> Pair:
        secret = await self._secret(LEAF_SECRET)
        if secret is not None:
            data = _data(secret)
            leaf = Pair(data["tls.crt"], data["tls.key"])
            if not published or (trust.current.signed(leaf) and not leaf.due(now)):
                return leaf
        host = f"{SERVICE}.{self._namespace}.svc"
        leaf = Pair.leaf(trust.current, [host, f"{host}.cluster.local"], now)
        if secret is not None:
            await self._write(secret, _pair_data(leaf))
            logger.info("Renewed the webhook's certificate")
        elif not await self._create(LEAF_SECRET, _pair_data(leaf)):
            raise ConflictError(f"another replica has just made Secret {LEAF_SECRET}")
        return leaf

    async def _tell(self, bundle: bytes) -> None:
        """Put the trusted certificates into the webhook configuration, where they differ."""
        configuration = await self._cluster.get(*CONFIGURATION_KIND, None, CONFIGURATION)
        if configuration is None:
            raise KubeError(
                f"MutatingWebhookConfiguration {CONFIGURATION} is not there: install the chart"
            )
        wanted = base64.b64encode(bundle).decode()
        webhooks = configuration["webhooks"]
        if all(each["clientConfig"].get("caBundle") == wanted for each in webhooks):
            return
        for each in webhooks:
            each["clientConfig"]["caBundle"] = wanted
        await self._cluster.patch(
            *CONFIGURATION_KIND,
            None,
            CONFIGURATION,
            {"webhooks": webhooks},
            resource_version=configuration["metadata"]["resourceVersion"],
        )

    async def _secret(self, name: str) -> Manifest | None:
        return await self._cluster.get("v1", "Secret", self._namespace, name)

    async def _create(self, name: str, data: Mapping[str, bytes]) -> bool:
        return await self._cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {
                    "namespace": self._namespace,
                    "name": name,
                    "labels": {"app.kubernetes.io/managed-by": "shieldx"},
                },
                "data": _encoded(data),
            }
        )

    async def _write(self, secret: Manifest, data: Mapping[str, bytes]) -> None:
        await self._cluster.patch(
            "v1",
            "Secret",
            self._namespace,
            secret["metadata"]["name"],
            {"data": _encoded(data)},
            resource_version=secret["metadata"]["resourceVersion"],
        )


def load(context: ssl.SSLContext, leaf: Pair) -> None:
    """Let `context` serve with `leaf` from the next handshake on."""
    # OpenSSL reads files only; the folder is the pod's memory-backed /tmp and gone at once.
    with TemporaryDirectory() as folder:
        certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate.write_bytes(leaf.certificate)
        key.touch(mode=0o600)
        key.write_bytes(leaf.key)
        context.load_cert_chain(certificate, key)


def _pair_data(pair: Pair) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key}


def _trust_data(trust: Trust) -> dict[str, bytes]:
    return {**_pair_data(trust.current), "previous.crt": trust.previous}


def _data(secret: Manifest) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in secret["data"].items()}


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in data.items()}
