"""The program `shieldx sidecar`: the API server of one ledger shard, or of a laptop.

Starting: probes first, then the database is brought to this version's schema, then the API
listens. Stopping (SIGTERM): `/ready` says no while requests are still served, so that whoever
sends them looks elsewhere; then everything accepted is answered, and the process ends with 0.
"""

import asyncio
import contextlib
import gc
import logging
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from shieldx.kube.signed_tokens import SignedTokens
from shieldx.kube.signing_keys import SigningKeys
from shieldx.kube.token_reviews import ClusterReviewer
from shieldx.kube.tokens import TokenCache, TokenReviewer
from shieldx.ledger.dsn import DsnError, read_dsn
from shieldx.ledger.embedded import EmbeddedError, EmbeddedPostgres
from shieldx.ledger.forward import Forward
from shieldx.ledger.fuse import Fuse
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.schema import SchemaError
from shieldx.ledger.seals import RECEIPT_KEYS, KeyRing, SealError, follow_keys
from shieldx.ledger.writer import Peers
from shieldx.sidecar.api import MOST_IN_FLIGHT, Api
from shieldx.sidecar.api_keys import KeyHolders
from shieldx.sidecar.auth import Authenticator, NoTokens, ServiceAccounts
from shieldx.sidecar.config import Config, ConfigError, follow, load
from shieldx.sidecar.events import Feed
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.guards import Guards
from shieldx.sidecar.internal import LIMITS as INTERNAL_LIMITS
from shieldx.sidecar.internal import Internal, InternalOptions, admission
from shieldx.sidecar.listing import Listing
from shieldx.sidecar.metrics import ApiMetrics
from shieldx.sidecar.parties import Parties
from shieldx.sidecar.probes import Probes
from shieldx.sidecar.program import StartError, listen, stop_signals, tell
from shieldx.sidecar.reads import Reads
from shieldx.sidecar.server import Server
from shieldx.sidecar.writer_metrics import writer_metrics

logger = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
RETRY_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.02
ANSWER_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """Where the ledger's database and configuration are, and where to listen."""

    dsn_file: Path
    config: Path
    host: str = "0.0.0.0"  # noqa: S104 — a pod's address; NetworkPolicies say who gets there.
    port: int = 5004
    metrics_port: int | None = None
    drain_seconds: float = 5.0
    redis_url_file: Path | None = None
    internal: InternalOptions | None = None
    receipt_keys: Path | None = None
    api_keys: Path | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedOptions:
    """Where a laptop's ledger keeps its data."""

    data: Path
    port: int = 5004
    metrics_port: int | None = None


def run(options: Options | EmbeddedOptions) -> int:
    """Serve until told to stop; 0 if everything was answered."""
    try:
        if isinstance(options, EmbeddedOptions):
            return uvloop.run(_embedded(options))
        return uvloop.run(_deployed(options))
    except (StartError, ConfigError, DsnError, EmbeddedError, SchemaError, SealError) as error:
        sys.stderr.write(f"shieldx sidecar: {error}\n")
        return 2


async def _embedded(options: EmbeddedOptions) -> int:
    stopped = stop_signals()
    async with EmbeddedPostgres(options.data) as server:
        ring = KeyRing.create(server.data / RECEIPT_KEYS)
        process = Process(server.dsn, Config(ledger="embedded/ledger"), NoTokens(), ring=ring)
        return await process.serve(
            stopped,
            host=LOOPBACK,
            port=options.port,
            metrics=(LOOPBACK, options.metrics_port),
            announce=f"data in {server.data}",
        )


async def _deployed(options: Options) -> int:
    stopped = stop_signals()
    reviewer = ClusterReviewer()
    try:
        return await serve(options, reviewer, SigningKeys(reviewer), stopped)
    finally:
        await reviewer.close()


async def serve(
    options: Options, reviewer: TokenReviewer, keys: SigningKeys, stopped: asyncio.Event
) -> int:
    """Serve one ledger shard until `stopped`, following configuration and the cluster's keys."""
    config, text = load(options.config)
    accounts = ServiceAccounts(SignedTokens(TokenCache(reviewer), keys), config.policy())
    internal = options.internal
    peers = Peers(Forward(internal.token_file), internal.address) if internal else None
    ring = KeyRing.read(options.receipt_keys) if options.receipt_keys else None
    holders = KeyHolders(accounts)
    process = Process(
        read_dsn(options.dsn_file),
        config,
        holders,
        options.redis_url_file,
        peers=peers,
        ring=ring,
    )
    if internal is not None:
        door = admission(reviewer, internal.peers, keys)
        process.open_internally(door, options.host, internal.port)

    def changed(new: Config) -> None:
        accounts.policy = new.policy()
        process.api.writes.holds = new.holds
        process.guards.follow(new)

    following = [
        asyncio.create_task(follow(options.config, text, changed)),
        asyncio.create_task(keys.follow()),
    ]
    if options.receipt_keys and ring:
        sealing = follow_keys(options.receipt_keys, ring, process.ledger.seal_with)
        following.append(asyncio.create_task(sealing))
    if options.api_keys is not None:
        following.append(asyncio.create_task(holders.follow(options.api_keys)))
    try:
        return await process.serve(
            stopped,
            host=options.host,
            port=options.port,
            metrics=(options.host, options.metrics_port),
            drain_seconds=options.drain_seconds,
        )
    finally:
        for task in following:
            task.cancel()


class Process:
    """One API server and its ledger, wired together."""

    def __init__(
        self,
        dsn: str,
        config: Config,
        authenticator: Authenticator,
        redis_url_file: Path | None = None,
        *,
        peers: Peers | None = None,
        ring: KeyRing | None = None,
    ) -> None:
        self.ledger = Ledger.open(dsn, config.shard, peers, ring)
        self.fuse = Fuse(self.ledger)
        self.guards = Guards(config, self.ledger.reads.balances, redis_url_file)
        self.guards.breakers |= {
            "postgres_writes": self.fuse.breaker,
            "postgres_reads": self.ledger.reads.pool.breaker,
        }
        self.metrics = ApiMetrics(
            queue_length=lambda: self.ledger.queued,
            connections=lambda: len(self.server.connections),
        )
        self.ledger.batcher.on_batch = self.metrics.batch
        self.probes = Probes(self.unready, self.metrics, self.guards)
        self._authenticator = authenticator
        self._name = config.ledger
        self.api = self.make_api()
        self.api.writes.holds = config.holds
        self.server = Server(self._handle)
        self.probe_server = Server(self.probes.handle)
        self.internal_server: Server | None = None
        self._internal_address = ("", 0)
        self._started = False

    def make_api(self, most_in_flight: int = MOST_IN_FLIGHT) -> Api:
        """Build the API on this process's ledger."""
        listing = Listing(self.ledger.history)
        feed = Feed(self.ledger.history, self._name)
        return Api(
            submit=self.fuse.submit,
            heard=self.fuse.heard,
            reads=Reads(
                self.ledger.reads, {**listing.reads(), **feed.reads()}, self.guards.balances
            ),
            feed=feed,
            parties=Parties(self.ledger.reads.parties),
            authenticator=self._authenticator,
            throttle=self.guards.throttle,
            acknowledged=self.guards.acknowledged,
            probes=self.probes,
            metrics=self.metrics,
            full=lambda: self.server.full,
            most_in_flight=most_in_flight,
        )

    def open_internally(self, authenticator: Authenticator, host: str, port: int) -> None:
        """Let the other processes of the ledger in, on a port of its own, while this one serves."""
        writer = self.ledger.writer
        if writer is not None:
            internal = Internal(self.ledger.batcher.submit, writer.leadership, authenticator)
            self.metrics.also.append(partial(writer_metrics, writer, internal))
            self.internal_server = Server(internal.handle, INTERNAL_LIMITS)
            self._internal_address = (host, port)

    def unready(self) -> str | None:
        """Say why no requests should come here now, if so."""
        if self.server.draining:
            return "The process is stopping."
        if not self._started:
            return "The database is being prepared."
        if not self.ledger.ready:
            return "The database does not answer."
        return None

    def _handle(self, exchange: Exchange) -> None:
        if self._started:
            self.api.handle(exchange)
        elif not self.probes.serves(exchange):
            exchange.refuse("shard_unavailable", self.unready() or "Try again.")

    async def serve(
        self,
        stopped: asyncio.Event,
        *,
        host: str,
        port: int,
        metrics: tuple[str, int | None],
        drain_seconds: float = 0.0,
        announce: str = "",
    ) -> int:
        """Serve until `stopped`, then end in order."""
        try:
            if metrics[1] is not None:
                await listen(self.probe_server, metrics[0], metrics[1])
            if self.internal_server is not None:
                await listen(self.internal_server, *self._internal_address)
            bound = await listen(self.server, host, port)
            if await self.start(stopped):
                tell(f"ShieldX ledger on http://{host}:{bound} {announce}".rstrip())
                await stopped.wait()
        finally:
            unanswered = await self.stop(drain_seconds)
        if unanswered:
            logger.error("Stopped with %d requests unanswered", unanswered)
        return 1 if unanswered else 0

    async def start(self, stopped: asyncio.Event) -> bool:
        """Bring the database to this version and begin; False if told to stop meanwhile."""
        while not stopped.is_set():
            try:
                version = await self.ledger.migrate()
            except ShardUnavailableError as error:
                logger.warning("Waiting for the database: %s", error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), RETRY_SECONDS)
                continue
            logger.info("The database has schema version %d", version)
            await self.ledger.start()
            self._started = True
            while not self.ledger.ready and not stopped.is_set():  # noqa: ASYNC110 — seldom once
                await asyncio.sleep(POLL_SECONDS)
            # What lives now lives for ever: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            # Requests make no cycles; what a batch of them keeps alive is not looked at either.
            gc.set_threshold(100_000, 50, 50)
            return True
        return False

    async def stop(self, drain_seconds: float = 0.0) -> int:
        """Answer everything accepted, end, and return how many got no answer all the same."""
        self.server.drain()
        self.api.feed.close()
        await self.ledger.resign()
        if self._started:
            await asyncio.sleep(drain_seconds)
        unanswered = await self.server.close(ANSWER_SECONDS)
        if self.internal_server is not None:
            unanswered += await self.internal_server.close(ANSWER_SECONDS)
        await self.ledger.close()
        await self.guards.close()
        await self.probe_server.close(0)
        return unanswered
