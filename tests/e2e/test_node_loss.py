"""A machine is lost under load: whoever retries by key loses and doubles nothing."""

import pytest

from tests.support.bank import Bank
from tests.support.cluster import Cluster
from tests.support.cluster.local import LocalCluster
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

KEPT, LOST = "node1", "node2"  # the control plane is on the first


@pytest.fixture
def lossy(cluster: Cluster) -> LocalCluster:
    assert isinstance(cluster, LocalCluster), "nodes can be lost on CLUSTER=local only"
    return cluster


@pytest.fixture
def bank(namespace: Namespace) -> Bank:
    """A ledger whose Postgres is on the node that stays: its claim is bound there beforehand."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data-credits-s0-0",
            "annotations": {"volume.kubernetes.io/selected-node": KEPT},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    namespace.apply(claim)
    bank = Bank(namespace)
    bank.open()
    return bank


def test_the_node_without_the_postgres_is_lost_under_load(lossy: LocalCluster, bank: Bank) -> None:
    (postgres,) = bank.pods("postgres")
    assert postgres["spec"]["nodeName"] == KEPT
    assert LOST in {pod["spec"]["nodeName"] for pod in bank.pods("api")}

    bank.start_spending("through-the-loss", 90, node=KEPT)
    lossy.lose(LOST)
    try:
        spent = bank.spent("through-the-loss", 300)
    finally:
        lossy.start(LOST)

    assert spent.wrong == {}
    assert spent.paid > 100
    assert spent.problems, "the loss was not felt, so this proves nothing"
    assert "clean" in bank.verify()
    bank.world.wait("the ledger is whole again", bank.settled, seconds=240)
