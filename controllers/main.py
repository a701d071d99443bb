"""The operator program: waits for its resources and its Lease, then lets kopf listen.

One process acts at a time. It ends when it loses the Lease, and Kubernetes starts it anew: a
fresh start is the one state of an operator that is always tested.
"""

import asyncio
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import kopf
from aiohttp import web

import controllers.creditledger.handlers
import controllers.process
import controllers.shadowexperiment.handlers  # noqa: F401 - all register what they have with kopf.
from shieldx.kube import Cluster, KubeError, UnreachableError
from shieldx.lease import Lease

logger = logging.getLogger(__name__)

RESOURCES: Final = (
    "creditledgers.shieldx.io",
    "shadowexperiments.shieldx.io",
    "experimentruns.shieldx.io",
)
LEASE_NAME: Final = "shieldx-operator"
CRD: Final = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
POLL_SECONDS: Final = 2.0
# A successor may act 15 s after the last renewal it saw; the holder gives up after 10 s.
LAST_WORDS_SECONDS: Final = 4.0


@dataclass(frozen=True, slots=True)
class Options:
    """Where the operator runs, and where it answers probes."""

    namespace: str
    identity: str
    health_port: int = 8080

    @classmethod
    def from_environment(cls) -> Self:
        """Read what the chart sets on the pod."""
        return cls(
            namespace=os.environ.get("POD_NAMESPACE", "default"),
            identity=os.environ.get("POD_NAME", f"process-{os.getpid()}"),
        )


def run(options: Options) -> int:
    """Run until told to stop (0) or until the Lease is lost (1)."""
    return asyncio.run(_run(options))


async def _run(options: Options) -> int:
    health = await _serve_health(options.health_port)
    cluster = await _reached()
    try:
        await until_served(cluster, RESOURCES)
        lease = Lease(cluster, options.namespace, LEASE_NAME, identity=options.identity)
        await lease.acquire()
        # Made before kopf starts: kopf cancels every task that is younger than itself.
        keeping = asyncio.create_task(lease.keep())
        last_words = asyncio.create_task(_end_with(lease))
        await kopf.operator(clusterwide=True, standalone=True, stop_flag=lease.lost)
        keeping.cancel()
        last_words.cancel()
        if lease.lost.is_set():
            return 1
        await lease.release()
    finally:
        await cluster.close()
        await health.cleanup()
    return 0


async def _reached() -> Cluster:
    """Connect to the API server, which may be away when this starts."""
    while True:
        try:
            return await Cluster.open()
        except UnreachableError as problem:
            logger.warning("%s; trying again", problem)
            await asyncio.sleep(POLL_SECONDS)


async def until_served(cluster: Cluster, resources: Iterable[str]) -> None:
    """Wait until the API server serves the resources: a chart installs them beside the operator."""
    for resource in resources:
        while not await _served(cluster, resource):
            logger.info("Waiting for the CustomResourceDefinition %s", resource)
            await asyncio.sleep(POLL_SECONDS)


async def _served(cluster: Cluster, resource: str) -> bool:
    try:
        found = await cluster.get(*CRD, None, resource)
    except KubeError as problem:
        logger.warning("Could not read CustomResourceDefinition %s: %s", resource, problem)
        return False
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


async def _end_with(lease: Lease) -> None:
    """End the process by force if kopf has not let go when a successor may begin."""
    await lease.lost.wait()
    await asyncio.sleep(LAST_WORDS_SECONDS)
    logger.error("Did not stop in time after losing the lease; ending at once")
    logging.shutdown()
    os._exit(1)


async def _serve_health(port: int) -> web.AppRunner:
    """Answer probes from the very loop that reconciles: a loop that hangs answers nothing.

    A process that waits for the Lease is well, too.
    """

    async def well(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.add_routes([web.get("/health", well), web.get("/ready", well)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - probes come from the node.
    return runner
