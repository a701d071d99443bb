"""Challenger pods for a weight: the fewest that reach it, never more than may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldx.traffic.split import actual_weight, challenger_replicas


@pytest.mark.parametrize(
    ("champion", "weight", "pods"),
    [(3, 0, 0), (3, 25, 1), (3, 26, 2), (3, 50, 3), (10, 5, 1), (1, 95, 19), (0, 50, 0)],
)
def test_the_fewest_pods_that_reach_a_weight(champion: int, weight: int, pods: int) -> None:
    assert challenger_replicas(champion, weight, most=50) == pods


def test_the_cap_holds() -> None:
    assert challenger_replicas(10, 95, most=4) == 4


@given(st.integers(1, 1000), st.integers(1, 95))
def test_one_pod_fewer_would_not_reach_the_weight(champion: int, weight: int) -> None:
    pods = challenger_replicas(champion, weight, most=100_000)

    assert pods * 100 >= weight * (champion + pods)
    assert (pods - 1) * 100 < weight * (champion + pods - 1)


@pytest.mark.parametrize("weight", [-1, 100])
def test_a_weight_that_leaves_no_champion_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 99"):
        challenger_replicas(3, weight, most=50)


def test_the_actual_weight_is_the_share_of_ready_pods() -> None:
    assert [actual_weight(3, 1), actual_weight(0, 0), actual_weight(0, 2)] == [25, 0, 100]
