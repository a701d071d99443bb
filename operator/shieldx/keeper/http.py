"""The keeper's small HTTP server: its status for the operator, probes and metrics for everybody.

GET /status    what only the database knows; the operator's service-account token only
GET /health    the process turns
GET /ready     the database answered lately
GET /metrics   Prometheus
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from shieldx.kube.tokens import ReviewUnavailableError, TokenCache

logger = logging.getLogger(__name__)

BEARER: Final = "bearer "
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="shieldx"'}
RETRY: Final = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the answers come from."""

    status: Callable[[], Awaitable[object]]
    ready: Callable[[], str | None]
    metrics: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class OperatorOnly:
    """Lets one service account in: the operator's."""

    tokens: TokenCache
    namespace: str
    name: str

    async def refusal(self, authorization: str) -> web.Response | None:
        """Return why the caller is not let in, or None."""
        if not authorization.lower().startswith(BEARER):
            return _problem(401, "unauthenticated", "Send a service-account token.", CHALLENGE)
        try:
            reviewed = await self.tokens.review(authorization[len(BEARER) :].strip().encode())
        except ReviewUnavailableError as error:
            logger.warning("A token could not be reviewed: %s", error)
            message = "The cluster does not answer token reviews; try again."
            return _problem(503, "authentication_unavailable", message, RETRY)
        identity = reviewed.identity
        if identity is None:
            return _problem(401, "unauthenticated", "The token is not valid.", CHALLENGE)
        if (identity.namespace, identity.name) != (self.namespace, self.name):
            return _problem(403, "unknown_caller", "Only the operator may ask for this.")
        return None


def public(sources: Sources) -> web.Application:
    """Build what anybody may ask: probes and metrics."""

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        reason = sources.ready()
        if reason is not None:
            return _problem(503, "not_ready", reason, RETRY)
        return web.json_response({"status": "ready"})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=sources.metrics(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    application = web.Application()
    application.router.add_get("/health", health)
    application.router.add_get("/ready", ready)
    application.router.add_get("/metrics", metrics)
    return application


def private(sources: Sources, door: OperatorOnly) -> web.Application:
    """Build what the operator asks, beside the public part."""

    async def status(request: web.Request) -> web.Response:
        refusal = await door.refusal(request.headers.get("Authorization", ""))
        if refusal is not None:
            return refusal
        try:
            facts = await sources.status()
        except Exception as error:
            logger.exception("The status could not be read")
            return _problem(503, "shard_unavailable", type(error).__name__, RETRY)
        return web.Response(body=msgspec.json.encode(facts), content_type="application/json")

    application = public(sources)
    application.router.add_get("/status", status)
    return application


def _problem(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response(
        {"type": f"urn:shieldx:problem:{code}", "code": code, "message": message},
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )
