"""The admission endpoints: read an AdmissionReview, ask who decides, answer with the patch.

POST /gate     a Deployment under experiment changes: `shieldx.webhook.gate`
POST /inject   a pod that names a ledger is created: `shieldx.webhook.injection`
POST /advise   an experiment is created, or asks for something else: `shieldx.webhook.advice`
"""

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from aiohttp import web

from shieldx.resources.creditledger import Injection
from shieldx.webhook.advice import advise
from shieldx.webhook.gate import Patch, rule
from shieldx.webhook.injection import PodError, Relay, asked_ledger, inject

logger = logging.getLogger(__name__)

GATE_PATH: Final = "/gate"
INJECT_PATH: Final = "/inject"
ADVISE_PATH: Final = "/advise"
MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # two Deployments as large as etcd takes them


class Ledgers(Protocol):
    """Who knows the ledgers of the cluster."""

    async def injection(self, namespace: str, ledger: str) -> Injection | None:
        """Return what the ledger says of injection; None where there is no such ledger."""
        ...


def application(ledgers: Ledgers, relay: Relay) -> web.Application:
    """Return the server's routes."""

    async def injection(request: web.Request) -> web.Response:
        return await inject_relay(request, ledgers, relay)

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post(GATE_PATH, gate),
            web.post(INJECT_PATH, injection),
            web.post(ADVISE_PATH, advice),
        ]
    )
    return app


async def gate(request: web.Request) -> web.Response:
    """Answer one AdmissionReview of a Deployment's update."""
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
    return _allow(asked["uid"], ruling.patch)


async def inject_relay(request: web.Request, ledgers: Ledgers, relay: Relay) -> web.Response:
    """Answer one AdmissionReview of a pod's creation.

    A pod whose ledger is not there yet gets the relay all the same: it serves as soon as there is
    one, while a pod without it would have to be made anew by somebody.
    """
    try:
        review = await request.json()
        asked = review["request"]
        uid, pod, namespace = asked["uid"], asked["object"], asked["namespace"]
        ledger = asked_ledger(pod)
        if ledger is None:
            return _allow(uid, [])
        says = await ledgers.injection(namespace, ledger)
        if says is Injection.DISABLED:
            return _allow(uid, [], [_disabled(ledger)])
        patch = inject(pod, namespace, ledger, relay)
    except PodError as error:
        return _refuse(uid, str(error))
    except (ValueError, KeyError, TypeError, AttributeError) as malformed:
        raise web.HTTPBadRequest(
            text=f"not the AdmissionReview of a pod's creation: {malformed!r}"
        ) from malformed
    logger.info("Injected the relay", extra={"namespace": namespace, "ledger": ledger})
    return _allow(uid, patch, [_missing(namespace, ledger)] if says is None else [])


async def advice(request: web.Request) -> web.Response:
    """Answer one AdmissionReview of an experiment: always yes, perhaps with warnings."""
    try:
        review = await request.json()
        uid, experiment = review["request"]["uid"], review["request"]["object"]
    except (ValueError, KeyError, TypeError) as malformed:
        raise web.HTTPBadRequest(
            text=f"not the AdmissionReview of a ShadowExperiment: {malformed!r}"
        ) from malformed
    return _allow(uid, [], advise(experiment))


def _disabled(ledger: str) -> str:
    return (
        f"CreditLedger {ledger} has spec.sidecar.injection: disabled, so the pod gets no relay: "
        "call the ledger's API with a token, or enable injection and create the pod anew"
    )


def _missing(namespace: str, ledger: str) -> str:
    return (
        f"there is no CreditLedger {ledger} in namespace {namespace} yet: the relay answers 503 "
        "until there is"
    )


def _allow(uid: str, patch: Patch, warnings: Sequence[str] = ()) -> web.Response:
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
    if warnings:
        response["warnings"] = list(warnings)
    return _review(response)


def _refuse(uid: str, message: str) -> web.Response:
    return _review({"uid": uid, "allowed": False, "status": {"code": 400, "message": message}})


def _review(response: Mapping[str, Any]) -> web.Response:
    return web.json_response(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    )
