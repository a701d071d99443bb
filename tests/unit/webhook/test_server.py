"""The admission endpoint, as the API server talks to it."""

import base64
import json

from aiohttp.test_utils import TestClient, TestServer

from shieldx.webhook.server import application
from tests.unit.webhook.test_gate import HOLD, deployment


async def test_a_review_is_answered_with_its_uid_and_the_patch() -> None:
    review = {"request": {"uid": "u-1", "oldObject": deployment("v1"), "object": deployment("v2")}}
    async with TestClient(TestServer(application())) as client:
        answer = await (await client.post("/gate", json=review)).json()

    response = answer["response"]
    assert answer["kind"] == "AdmissionReview"
    assert (response["uid"], response["allowed"]) == ("u-1", True)
    assert json.loads(base64.b64decode(response["patch"])) == HOLD


async def test_a_review_that_changes_nothing_has_no_patch() -> None:
    review = {"request": {"uid": "u-1", "oldObject": deployment("v1"), "object": deployment("v1")}}
    async with TestClient(TestServer(application())) as client:
        answer = await (await client.post("/gate", json=review)).json()

    assert answer["response"] == {"uid": "u-1", "allowed": True}


async def test_what_is_no_review_is_refused() -> None:
    async with TestClient(TestServer(application())) as client:
        for body in (b"", b"[]", b'{"request": {"uid": 1}}'):
            assert (await client.post("/gate", data=body)).status == 400
