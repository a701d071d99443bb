"""The program `shieldx sidecar --relay`: the ledger's API for the containers of one pod.

The API listens on 127.0.0.1, where the pod's own containers are and nobody else; probes and metrics
listen where the kubelet and Prometheus come from. It is ready while the ledger's API is away, too:
the app is told so with every answer. As a native sidecar it is stopped when the app has ended.
"""

import asyncio
import gc
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from shieldx.sidecar.limits import Limits
from shieldx.sidecar.program import StartError, listen, stop_signals, tell
from shieldx.sidecar.relay.front import DEADLINE_SECONDS, Front
from shieldx.sidecar.relay.upstream import TokenFile, Upstream
from shieldx.sidecar.server import Server

logger = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - kubelet and Prometheus come from outside the pod.
LIMITS: Final = Limits(buffered_bytes=16 * 1024 * 1024, connections=1024)
# Longer than any accepted request may wait.
ANSWER_SECONDS: Final = DEADLINE_SECONDS + 2


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Whose API is relayed, as whom, and where."""

    upstream: str
    token_file: Path
    port: int = 5004
    metrics_port: int | None = None


def run(options: RelayOptions) -> int:
    """Serve until told to stop; 0 if everything was answered."""
    try:
        return uvloop.run(_run(options))
    except StartError as error:
        sys.stderr.write(f"shieldx sidecar: {error}\n")
        return 2


async def _run(options: RelayOptions) -> int:
    return await serve(options, stop_signals())


async def serve(options: RelayOptions, stopped: asyncio.Event) -> int:
    """Relay until `stopped`, then end in order."""
    upstream = Upstream(options.upstream, TokenFile(options.token_file))
    front = Front(upstream)
    server, probes = Server(front.handle, LIMITS), Server(front.probes.handle)
    await upstream.start()
    await front.start()
    try:
        if options.metrics_port is not None:
            await listen(probes, EVERYWHERE, options.metrics_port)
        bound = await listen(server, LOOPBACK, options.port)
        tell(f"ShieldX ledger on http://{LOOPBACK}:{bound} relayed to {options.upstream}")
        # What lives now lives for ever: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        await stopped.wait()
    finally:
        front.drain()
        unanswered = await server.close(ANSWER_SECONDS)
        await front.close()
        await upstream.close()
        await probes.close(0)
    if unanswered:
        logger.error("Stopped with %d requests unanswered", unanswered)
    return 1 if unanswered else 0
