"""One cluster with the operator of this checkout for all tests, and a namespace for each."""

import re
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.cluster import cluster as chosen_cluster
from tests.support.install import install
from tests.support.namespace import Namespace


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of `make cluster`, made if there is none, with images and chart installed."""
    place = chosen_cluster()
    place.up()
    install(place)
    return place


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A fresh namespace that is named after the test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    with Namespace.made(cluster, f"e2e-{name}"[:50].strip("-")) as world:
        yield world
