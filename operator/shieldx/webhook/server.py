"""The admission endpoint: reads an AdmissionReview, asks the gate, answers with its patch."""

import base64
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from shieldx.webhook.gate import Ruling, rule

logger = logging.getLogger(__name__)

GATE_PATH: Final = "/gate"
MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # two Deployments as large as etcd takes them


def application() -> web.Application:
    """Return the server's routes."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes([web.post(GATE_PATH, gate)])
    return app


async def gate(request: web.Request) -> web.Response:
    """Answer one AdmissionReview."""
    try:
        review = await request.json()
        asked = review["request"]
        ruling = rule(asked["oldObject"], asked["object"])
    except (ValueError, KeyError, TypeError) as malformed:
        raise web.HTTPBadRequest(
            text=f"not the AdmissionReview of a Deployment's update: {malformed!r}"
        ) from malformed
    logger.info(
        "Ruled on a Deployment",
        extra={
            "namespace": asked.get("namespace"),
            "deployment": asked.get("name"),
            "answer": str(ruling.answer),
        },
    )
    return web.json_response(_answer(asked["uid"], ruling))


def _answer(uid: str, ruling: Ruling) -> Mapping[str, Any]:
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if ruling.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(ruling.patch).encode()).decode()
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
