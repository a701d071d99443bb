"""Which cluster a command uses."""

import pytest

from tests.support.cluster.choose import choose
from tests.support.cluster.errors import ClusterError


@pytest.mark.parametrize(
    ("docker", "kind_installed", "chosen"),
    [(True, True, "kind"), (True, False, "local"), (False, True, "local"), (False, False, "local")],
)
def test_auto_is_kind_only_where_docker_answers_and_kind_is_installed(
    *, docker: bool, kind_installed: bool, chosen: str
) -> None:
    assert choose("auto", docker=docker, kind_installed=kind_installed) == chosen


@pytest.mark.parametrize("named", ["kind", "local", "current"])
def test_a_named_cluster_is_the_one_that_is_used(named: str) -> None:
    assert choose(named, docker=True, kind_installed=True) == named
    assert choose(named, docker=False, kind_installed=False) == named


@pytest.mark.parametrize("docker", [True, False])
def test_the_current_context_is_never_chosen_unasked(*, docker: bool) -> None:
    assert choose("auto", docker=docker, kind_installed=docker) != "current"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ClusterError, match="CLUSTER=minikube is unknown: use one of auto, kind"):
        choose("minikube", docker=True, kind_installed=True)
