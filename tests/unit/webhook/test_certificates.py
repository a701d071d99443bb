"""The webhook's certificates: made, shared by replicas, renewed, and rotated with both known."""

import asyncio
import base64
import ssl
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from shieldx.kube import Cluster, ConflictError, KubeError
from shieldx.webhook.certificates import Pair, Trust
from shieldx.webhook.keyring import Keyring, Keys, load
from tests.support.fake_cluster import FakeCluster

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOST = "shieldx-webhook.shieldx-system.svc"


def installation() -> FakeCluster:
    cluster = FakeCluster(lambda: NOW)
    cluster.put(
        {
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "shieldx-webhook"},
            "webhooks": [{"name": "gate.shieldx.io", "clientConfig": {"service": {}}}],
        }
    )
    return cluster


def keyring(cluster: FakeCluster) -> Keyring:
    return Keyring(cast("Cluster", cluster), "shieldx-system")


def told(cluster: FakeCluster) -> bytes:
    """What the API server trusts."""
    (webhook,) = cluster.objects["MutatingWebhookConfiguration", "shieldx-webhook"]["webhooks"]
    return base64.b64decode(webhook["clientConfig"]["caBundle"])


def trusts(bundle: bytes, keys: Keys) -> bool:
    """Whether who trusts `bundle` takes the leaf."""
    return any(
        Pair(certificate.public_bytes(serialization.Encoding.PEM), b"").signed(keys.leaf)
        for certificate in x509.load_pem_x509_certificates(bundle)
    )


async def test_the_first_replica_makes_keys_and_tells_the_api_server() -> None:
    cluster = installation()
    keys = await keyring(cluster).refresh(NOW)

    assert trusts(told(cluster), keys)
    leaf = x509.load_pem_x509_certificate(keys.leaf.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert HOST in names.get_values_for_type(x509.DNSName)


async def test_a_second_replica_takes_the_same_keys() -> None:
    cluster = installation()
    first = await keyring(cluster).refresh(NOW)
    writes = len(cluster.writes)

    assert await keyring(cluster).refresh(NOW) == first
    assert len(cluster.writes) == writes


async def test_a_leaf_is_renewed_in_time_and_nobody_has_to_trust_anew() -> None:
    cluster = installation()
    first = await keyring(cluster).refresh(NOW)
    later = await keyring(cluster).refresh(NOW + timedelta(days=61))

    assert later.leaf != first.leaf
    assert later.bundle == first.bundle
    assert trusts(told(cluster), later)


async def test_a_leaf_that_has_long_ended_is_replaced_at_the_start() -> None:
    cluster = installation()
    await keyring(cluster).refresh(NOW)
    much_later = NOW + timedelta(days=200)
    keys = await keyring(cluster).refresh(much_later)

    leaf = x509.load_pem_x509_certificate(keys.leaf.certificate)
    assert leaf.not_valid_after_utc > much_later


async def test_a_new_authority_is_told_before_it_signs_and_the_old_one_stays_trusted() -> None:
    cluster = installation()
    rotation = NOW + timedelta(days=2434)
    await keyring(cluster).refresh(NOW)
    before = await keyring(cluster).refresh(rotation - timedelta(days=50))
    during = await keyring(cluster).refresh(rotation)

    assert len(x509.load_pem_x509_certificates(told(cluster))) == 2
    assert during.leaf == before.leaf
    assert trusts(told(cluster), during)

    after = await keyring(cluster).refresh(rotation + timedelta(minutes=1))
    assert after.leaf != before.leaf
    assert trusts(told(cluster), after)
    assert trusts(told(cluster), before)


async def test_an_upgrade_that_drops_the_authority_from_the_configuration_is_mended() -> None:
    cluster = installation()
    keys = await keyring(cluster).refresh(NOW)
    configuration = cluster.objects["MutatingWebhookConfiguration", "shieldx-webhook"]
    del configuration["webhooks"][0]["clientConfig"]["caBundle"]
    await keyring(cluster).refresh(NOW)

    assert told(cluster) == keys.bundle


async def test_the_replica_that_was_slower_takes_what_the_faster_one_wrote() -> None:
    cluster = installation()
    slow = keyring(cluster)
    create = cluster.create

    async def late(manifest: dict[str, object]) -> bool:
        cluster.create = create  # type: ignore[method-assign] # once is enough.
        await keyring(cluster).refresh(NOW)
        return await create(manifest)

    cluster.create = late  # type: ignore[method-assign] # the other replica comes in between.
    keys = await slow.refresh(NOW)

    assert keys == await keyring(cluster).refresh(NOW)


async def test_a_lost_race_for_the_leaf_is_a_conflict() -> None:
    cluster = installation()
    await keyring(cluster).refresh(NOW)
    del cluster.objects["Secret", "shieldx-webhook-leaf"]
    create = cluster.create

    async def beaten(manifest: dict[str, object]) -> bool:
        await create(manifest)
        return False

    cluster.create = beaten  # type: ignore[method-assign] # the other replica was faster.
    with pytest.raises(ConflictError):
        await keyring(cluster).refresh(NOW)


async def test_without_the_chart_it_says_so() -> None:
    cluster = FakeCluster(lambda: NOW)
    with pytest.raises(KubeError, match="install the chart"):
        await keyring(cluster).refresh(NOW)


async def test_a_client_that_trusts_the_bundle_gets_through_and_notices_a_new_leaf() -> None:
    now = datetime.now(UTC)
    trust = Trust(Pair.authority(now))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(served, Pair.leaf(trust.current, [HOST], now))
    client = ssl.create_default_context(cadata=trust.bundle.decode())
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=served
    )
    port = server.sockets[0].getsockname()[1]

    async def serial() -> object:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=HOST
        )
        number = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return number

    first = await serial()
    load(served, Pair.leaf(trust.current, [HOST], now))
    second = await serial()
    server.close()
    await server.wait_closed()

    assert first != second
