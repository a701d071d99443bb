"""The operator finds the relay in a pod where the webhook has put it."""

import pytest

from controllers.shadowexperiment.observe import relay_port
from tests.unit.webhook.test_injection import injected, pod

TAKEN = {"name": "shop", "image": "shop:1", "ports": [{"containerPort": 9090}]}


@pytest.mark.parametrize(
    ("given", "port"),
    [(injected(pod()), 9090), (injected(pod(containers=[TAKEN])), 9091), (pod(), None)],
    ids=["usual", "its port was taken", "without a relay"],
)
def test_the_port_of_a_relay_is_the_one_that_it_was_given(
    given: dict[str, object], port: int | None
) -> None:
    assert relay_port(given) == port
