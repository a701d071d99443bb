"""The program `shieldx keeper`: one per ledger, does what no request asks for.

It does what time has decided, tells webhooks what happened, and tells the operator (and only it)
what the database alone knows, so that the operator needs no database secrets of tenants.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from aiohttp import web

from shieldx.keeper.clock import ClockWatch
from shieldx.keeper.expiry import Expiry
from shieldx.keeper.http import OperatorOnly, Sources, private, public
from shieldx.keeper.metrics import KeeperMetrics, exposition
from shieldx.keeper.webhooks import Delivery, Webhook
from shieldx.kube.token_reviews import ClusterReviewer
from shieldx.kube.tokens import TokenCache, TokenReviewer
from shieldx.ledger.dsn import DsnError, read_dsn
from shieldx.ledger.events import SOURCE_PREFIX
from shieldx.ledger.forward import Forward
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.schema import SchemaError
from shieldx.ledger.seals import KeyRing, SealError, follow_keys
from shieldx.ledger.writer import Peers

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """Which shard to keep, who may ask about it (`namespace:name`), and where."""

    dsn_file: Path
    config: Path
    operator: str
    host: str = "0.0.0.0"  # noqa: S104 — a pod's address; NetworkPolicies say who gets there.
    port: int = 5004
    metrics_port: int | None = None
    token_file: Path | None = None
    receipt_keys: Path | None = None
    webhooks: Path | None = None


class StartError(Exception):
    """The program cannot start; the message says why and what to do."""


class _Kept(msgspec.Struct):
    ledger: str
    shard: str


def run(options: Options) -> int:
    """Keep the ledger until told to stop."""
    try:
        return uvloop.run(_run(options))
    except (StartError, DsnError, SchemaError, SealError) as error:
        sys.stderr.write(f"shieldx keeper: {error}\n")
        return 2


async def _run(options: Options) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    reviewer = ClusterReviewer()
    try:
        await keep(options, reviewer, stopped)
    finally:
        await reviewer.close()
    return 0


async def keep(options: Options, reviewer: TokenReviewer, stopped: asyncio.Event) -> None:
    """Serve and expire until `stopped`."""
    namespace, name = _operator(options.operator)
    kept = _kept(options.config)
    peers = Peers(Forward(options.token_file)) if options.token_file is not None else None
    ring = KeyRing.read(options.receipt_keys) if options.receipt_keys else None
    ledger = Ledger.open(read_dsn(options.dsn_file), kept.shard, peers, ring)
    source = f"{SOURCE_PREFIX}{kept.ledger}"
    deliveries = [
        Delivery(webhook, source, ledger.history, ledger.deliveries)
        for webhook in _webhooks(options.webhooks)
    ]
    expiry = Expiry(ledger.reads.due_accounts, ledger.submit)
    clock = ClockWatch(ledger.reads.clock_behind)
    sources = Sources(
        status=lambda: _status(ledger),
        ready=lambda: None if expiry.working else "The database does not answer.",
        metrics=exposition(KeeperMetrics(expiry, clock, deliveries)),
    )
    door = OperatorOnly(TokenCache(reviewer), namespace, name)
    async with contextlib.AsyncExitStack() as stack:
        await _listen(stack, private(sources, door), options.host, options.port)
        if options.metrics_port is not None:
            await _listen(stack, public(sources), options.host, options.metrics_port)
        stack.push_async_callback(ledger.close)
        if not await _migrate(ledger, stopped):
            return
        await ledger.start()
        runs = [expiry.run(), clock.run(), *(delivery.run() for delivery in deliveries)]
        if options.receipt_keys and ring:
            runs.append(follow_keys(options.receipt_keys, ring, ledger.seal_with))
        working = [asyncio.create_task(run) for run in runs]
        await stopped.wait()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _listen(
    stack: contextlib.AsyncExitStack, application: web.Application, host: str, port: int
) -> None:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error


async def _migrate(ledger: Ledger, stopped: asyncio.Event) -> bool:
    while not stopped.is_set():
        try:
            await ledger.migrate()
        except ShardUnavailableError as error:
            logger.warning("Waiting for the database: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), RETRY_SECONDS)
        else:
            return True
    return False


async def _status(ledger: Ledger) -> dict[str, Any]:
    status = dict(await ledger.reads.status())
    status["time"] = datetime.fromtimestamp(status["time"] / 1_000_000, UTC).isoformat()
    return status


def _operator(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition(":")
    if not namespace or not name:
        raise StartError(f"--operator is NAMESPACE:NAME of its service account, not {text!r}")
    return namespace, name


def _webhooks(path: Path | None) -> list[Webhook]:
    if path is None:
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Webhook])
    except (OSError, msgspec.DecodeError) as error:
        raise StartError(f"{path}: cannot be read as a list of webhooks: {error}") from error


def _kept(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError) as error:
        raise StartError(
            f"{path}: cannot be read as the ledger's configuration: {error}"
        ) from error
