"""The API of one ledger shard: finds the call, the caller, and who serves it."""

import time
from collections.abc import Callable
from typing import Final, cast

from shieldx.ledger.batcher import Job
from shieldx.sidecar import openapi
from shieldx.sidecar.auth import Authenticator, Caller
from shieldx.sidecar.calls import CALLS
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.metrics import CONTENT_TYPE, ApiMetrics, exposition
from shieldx.sidecar.parties import Parties
from shieldx.sidecar.reads import Reads
from shieldx.sidecar.router import Match, Router
from shieldx.sidecar.writes import Writes

# More than this is not answered in time anyway; saying so at once keeps memory bounded.
MOST_IN_FLIGHT: Final = 20_000


class Probes:
    """What is answered to anybody: is the process alive, ready, and what does it count."""

    def __init__(self, unready: Callable[[], str | None], metrics: ApiMetrics) -> None:
        self._unready = unready
        self._exposition = exposition(metrics)
        self._served: dict[bytes, Callable[[Exchange], None]] = {
            b"/health": self._health,
            b"/ready": self._ready,
            b"/metrics": self._metrics,
        }

    def serves(self, exchange: Exchange) -> bool:
        """Answer the request if it is one of these."""
        serve = self._served.get(exchange.target)
        if serve is None:
            return False
        if exchange.method != b"GET":
            refuse_method(exchange, ("GET",))
        else:
            exchange.route = exchange.target[1:].decode()
            serve(exchange)
        return True

    def handle(self, exchange: Exchange) -> None:
        """Serve a port that has only these."""
        if not self.serves(exchange):
            refuse_path(exchange)

    def _health(self, exchange: Exchange) -> None:
        exchange.answer(200, b'{"status":"ok"}')

    def _ready(self, exchange: Exchange) -> None:
        reason = self._unready()
        if reason is None:
            exchange.answer(200, b'{"status":"ready"}')
        else:
            exchange.refuse("not_ready", reason)

    def _metrics(self, exchange: Exchange) -> None:
        exchange.answer(200, self._exposition(), content_type=CONTENT_TYPE)


class Api:
    """Routes requests of the public port."""

    def __init__(
        self,
        *,
        submit: Callable[[Job], None],
        reads: Reads,
        parties: Parties,
        authenticator: Authenticator,
        probes: Probes,
        metrics: ApiMetrics,
        most_in_flight: int = MOST_IN_FLIGHT,
    ) -> None:
        self.writes = Writes(submit, parties, metrics.refused)
        self._reads = reads
        self._authenticator = authenticator
        self._probes = probes
        self._metrics = metrics
        self._router = Router(CALLS)
        self._openapi = openapi.document()
        self._most_in_flight = most_in_flight
        self._in_flight = 0

    def handle(self, exchange: Exchange) -> None:
        """Serve one request; the answer may come later."""
        exchange.started = time.perf_counter()
        exchange.on_answer = self._answered
        self._in_flight += 1
        found = self._router.find(exchange.method, exchange.target)
        if isinstance(found, Match):
            exchange.match = found
            exchange.route = found.call.name
            if self._in_flight > self._most_in_flight:
                exchange.refuse("overloaded", "Too many requests at once; try again shortly.")
            else:
                self._authenticator.identify(exchange, self._admitted)
        elif found.allowed:
            refuse_method(exchange, found.allowed)
        elif exchange.target == b"/openapi.json":
            exchange.route = "openapi"
            exchange.answer(200, self._openapi)
        elif not self._probes.serves(exchange):
            refuse_path(exchange)

    def _admitted(self, exchange: Exchange, caller: Caller) -> None:
        match = cast("Match", exchange.match)
        if not match.call.writes:
            self._reads.serve(exchange, caller, match)
        elif match.call.name == "batch":
            self.writes.batch(exchange, caller, match)
        else:
            self.writes.single(exchange, caller, match)

    def _answered(self, exchange: Exchange) -> None:
        self._in_flight -= 1
        seconds = time.perf_counter() - exchange.started
        self._metrics.answered(exchange.route or "none", exchange.status, seconds)
        if exchange.code:
            self._metrics.refused(exchange.code)


def refuse_path(exchange: Exchange) -> None:
    exchange.refuse("not_found", "There is no such path; see /openapi.json.")


def refuse_method(exchange: Exchange, allowed: tuple[str, ...]) -> None:
    fields = f"allow: {', '.join(allowed)}\r\n".encode()
    message = f"This path takes {', '.join(allowed)}."
    exchange.refuse("method_not_allowed", message, fields=fields)
