"""The admission endpoints, as the API server talks to them."""

import base64
import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from shieldx.resources.creditledger import Injection
from shieldx.webhook.injection import Relay, inject
from shieldx.webhook.server import application
from tests.support.experiments import SPEC
from tests.unit.webhook.test_gate import HOLD, deployment
from tests.unit.webhook.test_injection import pod

RELAY = Relay("shieldx:1")


class Ledgers:
    """The ledgers `credits` and `closed` of namespace `shop`."""

    async def injection(self, namespace: str, ledger: str) -> Injection | None:
        known = {"credits": Injection.ENABLED, "closed": Injection.DISABLED}
        return known.get(ledger) if namespace == "shop" else None


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application(Ledgers(), RELAY))) as client:
        yield client


def asked(given: dict[str, Any], namespace: str = "shop") -> dict[str, Any]:
    return {"request": {"uid": "u-1", "namespace": namespace, "object": given}}


def naming(ledger: str) -> dict[str, Any]:
    given = pod()
    given["metadata"]["annotations"]["shieldx.io/ledger"] = ledger
    return given


async def test_a_review_is_answered_with_its_uid_and_the_patch(
    client: TestClient[Any, Any],
) -> None:
    review = {"request": {"uid": "u-1", "oldObject": deployment("v1"), "object": deployment("v2")}}
    answer = await (await client.post("/gate", json=review)).json()

    response = answer["response"]
    assert answer["kind"] == "AdmissionReview"
    assert (response["uid"], response["allowed"]) == ("u-1", True)
    assert json.loads(base64.b64decode(response["patch"])) == HOLD


async def test_a_review_that_changes_nothing_has_no_patch(client: TestClient[Any, Any]) -> None:
    review = {"request": {"uid": "u-1", "oldObject": deployment("v1"), "object": deployment("v1")}}
    answer = await (await client.post("/gate", json=review)).json()

    assert answer["response"] == {"uid": "u-1", "allowed": True}


@pytest.mark.parametrize("path", ["/gate", "/inject", "/advise"])
async def test_what_is_no_review_is_refused(client: TestClient[Any, Any], path: str) -> None:
    for body in (b"", b"[]", b'{"request": {"uid": 1}}'):
        assert (await client.post(path, data=body)).status == 400


async def test_a_pod_that_names_a_ledger_gets_the_relay(client: TestClient[Any, Any]) -> None:
    answer = await (await client.post("/inject", json=asked(pod()))).json()

    response = answer["response"]
    assert (response["uid"], response["allowed"]) == ("u-1", True)
    assert json.loads(base64.b64decode(response["patch"])) == inject(
        pod(), "shop", "credits", RELAY
    )
    assert "warnings" not in response


async def test_a_pod_whose_ledger_is_not_there_yet_gets_the_relay_and_is_told(
    client: TestClient[Any, Any],
) -> None:
    review = asked(pod(), namespace="elsewhere")
    response = (await (await client.post("/inject", json=review)).json())["response"]

    assert response["allowed"]
    assert "patch" in response
    assert "no CreditLedger credits in namespace elsewhere yet" in response["warnings"][0]


async def test_a_pod_whose_ledger_wants_no_relay_passes_as_it_is_and_is_told(
    client: TestClient[Any, Any],
) -> None:
    answer = await client.post("/inject", json=asked(naming("closed")))
    response = (await answer.json())["response"]

    assert response["allowed"]
    assert "patch" not in response
    assert "spec.sidecar.injection: disabled" in response["warnings"][0]


async def test_a_pod_that_cannot_have_the_relay_is_refused_with_the_reason(
    client: TestClient[Any, Any],
) -> None:
    for given, said in ((pod(hostNetwork=True), "hostNetwork"), (naming("a b"), "is not the name")):
        response = (await (await client.post("/inject", json=asked(given))).json())["response"]

        assert (response["uid"], response["allowed"]) == ("u-1", False)
        assert said in response["status"]["message"]


async def test_a_pod_that_names_no_ledger_passes(client: TestClient[Any, Any]) -> None:
    given = pod()
    del given["metadata"]["annotations"]
    response = (await (await client.post("/inject", json=asked(given))).json())["response"]

    assert response == {"uid": "u-1", "allowed": True}


async def test_an_experiment_that_will_starve_is_allowed_and_told(
    client: TestClient[Any, Any],
) -> None:
    spec = copy.deepcopy(SPEC)
    spec["metrics"]["guardrails"][0]["margin"] = {"relative": "1%"}
    review = asked({"metadata": {"name": "trial"}, "spec": spec})
    response = (await (await client.post("/advise", json=review)).json())["response"]

    assert (response["uid"], response["allowed"]) == ("u-1", True)
    (warning,) = response["warnings"]
    assert warning.startswith("guardrail errors: proving under 1.01% at 1% takes")
    assert warning.endswith("See: shieldx simulate")


async def test_an_experiment_whose_selector_means_nothing_is_told_at_once(
    client: TestClient[Any, Any],
) -> None:
    spec = copy.deepcopy(SPEC)
    spec["metrics"]["guardrails"][0]["bad"] = 'code=~"5(.."'
    review = asked({"metadata": {"name": "trial"}, "spec": spec})

    response = (await (await client.post("/advise", json=review)).json())["response"]

    (warning,) = response["warnings"]
    assert warning.startswith("guardrail errors: bad cannot be used: 'code=~")
    assert warning.endswith("missing ): 5(..")


async def test_an_experiment_that_will_end_is_allowed_without_a_word(
    client: TestClient[Any, Any],
) -> None:
    for given in ({"metadata": {"name": "trial"}, "spec": SPEC}, {"spec": {"strategy": 5}}, None):
        answer = await client.post("/advise", json={"request": {"uid": "u-1", "object": given}})

        assert (await answer.json())["response"] == {"uid": "u-1", "allowed": True}
