"""The webhook program: TLS on one port, probes on another, certificates looked after meanwhile."""

import asyncio
import logging
import os
import signal
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from aiohttp import web

from shieldx.kube import Cluster, ConflictError, KubeError
from shieldx.webhook.injection import Relay
from shieldx.webhook.keyring import Keyring, load
from shieldx.webhook.ledgers import ClusterLedgers
from shieldx.webhook.server import application

logger = logging.getLogger(__name__)

# An upgrade of the chart may take the authority out of the webhook configuration.
REFRESH_SECONDS: Final = 60
RETRY_SECONDS: Final = 2
# A pod that leaves goes on answering until every API server has heard that it does.
DRAIN_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Options:
    """Where the webhook runs and listens."""

    namespace: str
    relay: Relay
    port: int = 9443
    health_port: int = 8080

    @classmethod
    def from_environment(cls) -> Self:
        """Read what the chart sets on the pod."""
        return cls(
            namespace=os.environ.get("POD_NAMESPACE", "default"),
            relay=Relay(
                image=os.environ["SHIELDX_IMAGE"],
                pull_policy=os.environ.get("SHIELDX_IMAGE_PULL_POLICY", "IfNotPresent"),
            ),
        )


def run(options: Options) -> int:
    """Serve until told to stop."""
    return asyncio.run(_run(options))


async def _run(options: Options) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ready = asyncio.Event()
    health = await _serve_health(options.health_port, ready, stop)
    cluster = await Cluster.open()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    keeping = asyncio.create_task(_keep(Keyring(cluster, options.namespace), context, ready))
    runner = web.AppRunner(application(ClusterLedgers(cluster), options.relay), access_log=None)
    try:
        await _first(ready, stop)
        await runner.setup()
        await web.TCPSite(
            runner,
            "0.0.0.0",  # noqa: S104 - the API server comes from outside the pod.
            options.port,
            ssl_context=context,
        ).start()
        await stop.wait()
        await asyncio.sleep(DRAIN_SECONDS)
    finally:
        keeping.cancel()
        await runner.cleanup()
        await health.cleanup()
        await cluster.close()
    return 0


async def _first(ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Wait for the first certificate, or for the end."""
    waits = [asyncio.create_task(event.wait()) for event in (ready, stop)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _keep(keyring: Keyring, context: ssl.SSLContext, ready: asyncio.Event) -> None:
    """Look after the certificates for as long as the program runs."""
    while True:
        pause = REFRESH_SECONDS
        try:
            keys = await keyring.refresh(datetime.now(UTC))
            await asyncio.to_thread(load, context, keys.leaf)
            ready.set()
        except ConflictError:
            pause = RETRY_SECONDS  # Another replica was faster: take what it wrote.
        except KubeError as problem:
            logger.warning("The certificates could not be looked after: %s", problem)
            pause = RETRY_SECONDS
        await asyncio.sleep(pause)


async def _serve_health(port: int, ready: asyncio.Event, stop: asyncio.Event) -> web.AppRunner:
    """Answer probes; ready once there is a certificate, and no longer once told to stop."""

    async def well(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def able(_: web.Request) -> web.Response:
        fine = ready.is_set() and not stop.is_set()
        return web.json_response({"ready": fine}, status=200 if fine else 503)

    app = web.Application()
    app.add_routes([web.get("/health", well), web.get("/ready", able)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - probes come from the node.
    return runner
