"""The story of `make demo`, as a test."""

from collections.abc import Iterator

import pytest

from tests.demo.__main__ import SPEEDS, Demo
from tests.support.cluster import Cluster
from tests.support.shop import Shop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[Shop]:
    shop = Shop(cluster, namespace="e2e-demo")
    yield shop
    shop.remove()


def test_the_bad_version_is_rolled_back_the_good_one_promoted_and_every_order_accounted_for(
    shop: Shop,
) -> None:
    assert Demo(shop).tell(SPEEDS["fast"])
