"""Carrying out a plan against a cluster of dictionaries: repeatable, and careful of others."""

import copy
from typing import Any

import pytest

from controllers.creditledger.act import NameTakenError, act, release
from controllers.creditledger.plan import plan
from shieldx.kube import Cluster, ConflictError, NamespaceTerminatingError
from tests.support.ledgers import NAMES, NOW, SETTINGS, observed, spec

type Place = tuple[str, str | None, str]


class FakeCluster(Cluster):
    """Objects by kind, namespace and name; what `foreign` lists was changed by somebody else."""

    def __init__(self) -> None:
        self.live: dict[Place, dict[str, Any]] = {}
        self.foreign: set[Place] = set()
        self.statuses: list[dict[str, Any]] = []
        self.terminating = False

    async def get(
        self, api_version: str, kind: str, namespace: str | None, name: str
    ) -> dict[str, Any] | None:
        assert kind != "Secret", f"the operator may not read {api_version} {kind}"
        return self.live.get((kind, namespace, name))

    async def create(self, manifest: dict[str, Any]) -> bool:
        place = _place(manifest)
        self._refuse_when_terminating(place)
        if place in self.live:
            return False
        self.live[place] = copy.deepcopy(manifest)
        return True

    async def apply(
        self,
        manifest: dict[str, Any],
        *,
        subresource: str | None = None,
        manager: str = "shieldx",
        force: bool = True,
    ) -> dict[str, Any]:
        assert (subresource, manager) == (None, "shieldx")
        place = _place(manifest)
        self._refuse_when_terminating(place)
        if place in self.foreign and not force:
            raise ConflictError("somebody else set it otherwise")
        self.foreign.discard(place)
        self.live[place] = copy.deepcopy(manifest)
        return manifest

    async def patch(self, *_: Any, **__: Any) -> dict[str, Any] | None:
        body: dict[str, Any] = _[4]
        self.statuses.append(body["status"])
        return body

    async def delete(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
    ) -> bool:
        assert api_version
        assert propagation
        return self.live.pop((kind, namespace, name), None) is not None

    def _refuse_when_terminating(self, place: Place) -> None:
        if self.terminating and place not in self.live:
            raise NamespaceTerminatingError("it is being terminated")


def _place(manifest: dict[str, Any]) -> Place:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace"), metadata["name"]


SERVICE: Place = ("Service", "bank", "credits-api")
SECRET: Place = ("Secret", "bank", "credits-s0-postgres")
BINDING: Place = ("ClusterRoleBinding", None, "shieldx:ledger:bank:credits")
TODO = plan(NAMES, spec(), observed(), SETTINGS, NOW)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


async def test_a_password_is_made_once_and_never_again(cluster: FakeCluster) -> None:
    await act(cluster, NAMES, "u-1", TODO)
    password = cluster.live[SECRET]["stringData"]["password"]

    await act(cluster, NAMES, "u-1", TODO)

    assert cluster.live[SECRET]["stringData"]["password"] == password
    assert len(password) >= 40


async def test_what_somebody_changed_is_repaired(cluster: FakeCluster) -> None:
    await act(cluster, NAMES, "u-1", TODO)
    cluster.live[SERVICE]["spec"]["ports"] = []
    cluster.foreign.add(SERVICE)

    await act(cluster, NAMES, "u-1", TODO)

    assert cluster.live[SERVICE]["spec"]["ports"][0]["port"] == 5004


async def test_an_object_of_somebody_else_is_not_overwritten(cluster: FakeCluster) -> None:
    theirs = {"kind": "Service", "metadata": {"name": "credits-api"}, "spec": {"ports": []}}
    cluster.live[SERVICE] = copy.deepcopy(theirs)
    cluster.foreign.add(SERVICE)

    with pytest.raises(NameTakenError, match="Service credits-api exists"):
        await act(cluster, NAMES, "u-1", TODO)

    assert cluster.live[SERVICE] == theirs


async def test_the_binding_is_told_apart_by_its_labels(cluster: FakeCluster) -> None:
    await act(cluster, NAMES, "u-1", TODO)
    cluster.live[BINDING]["subjects"] = []
    cluster.foreign.add(BINDING)

    await act(cluster, NAMES, "u-1", TODO)

    assert len(cluster.live[BINDING]["subjects"]) == 2


async def test_nothing_is_made_in_a_namespace_that_ends(cluster: FakeCluster) -> None:
    cluster.terminating = True

    await act(cluster, NAMES, "u-1", TODO)

    assert cluster.live == {}
    assert cluster.statuses == []


async def test_retained_data_is_left_and_its_place_is_told(cluster: FakeCluster) -> None:
    await act(cluster, NAMES, "u-1", TODO)

    message = await release(cluster, NAMES, spec())

    assert SECRET in cluster.live
    assert BINDING not in cluster.live
    assert "data-credits-s0-0" in message
    assert "credits-s0-postgres" in message


async def test_data_goes_when_asked_for_also_the_second_time(cluster: FakeCluster) -> None:
    await act(cluster, NAMES, "u-1", TODO)
    cluster.live["PersistentVolumeClaim", "bank", "data-credits-s0-0"] = {}

    await release(cluster, NAMES, spec(deletionPolicy="Delete"))
    await release(cluster, NAMES, spec(deletionPolicy="Delete"))

    kinds = {place[0] for place in cluster.live}
    assert not kinds & {"Secret", "PersistentVolumeClaim", "StatefulSet", "ClusterRoleBinding"}
