"""The API of one ledger shard: finds the call, the caller, and who serves it."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from shieldx.ledger.jobs import Job
from shieldx.sidecar import docs, openapi
from shieldx.sidecar.auth import Authenticator, Caller
from shieldx.sidecar.calls import CALLS
from shieldx.sidecar.events import Feed
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.metrics import ApiMetrics
from shieldx.sidecar.parties import Parties
from shieldx.sidecar.probes import Probes, refuse_method, refuse_path
from shieldx.sidecar.reads import Reads
from shieldx.sidecar.router import Match, Router
from shieldx.sidecar.throttle import Throttle
from shieldx.sidecar.writes import Heard, Writes

# More than this is not answered in time anyway; saying so at once keeps memory bounded.
MOST_IN_FLIGHT: Final = 20_000
ACCOUNTS: Final = "/v1/accounts/"


class Api:
    """Routes requests of the public port."""

    def __init__(
        self,
        *,
        submit: Callable[[Job], None],
        heard: Heard,
        reads: Reads,
        feed: Feed,
        parties: Parties,
        authenticator: Authenticator,
        throttle: Throttle,
        acknowledged: Heard,
        probes: Probes,
        metrics: ApiMetrics,
        full: Callable[[], bool] = lambda: False,
        most_in_flight: int = MOST_IN_FLIGHT,
    ) -> None:
        self.writes = Writes(
            submit=submit,
            heard=heard,
            parties=parties,
            throttle=throttle,
            acknowledged=acknowledged,
            refused=metrics.refused,
        )
        self.feed = feed
        self._reads = reads
        self._authenticator = authenticator
        self._throttle = throttle
        self._probes = probes
        self._metrics = metrics
        self._router = Router(CALLS)
        self._openapi = openapi.document()
        self._docs = docs.page(self._openapi)
        self._serve = {
            call.name: self._read if not call.writes else self.writes.single for call in CALLS
        } | {"batch": self.writes.batch}
        self._full = full
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
            if self._in_flight > self._most_in_flight or self._full():
                exchange.refuse("overloaded", "Too many requests at once; try again shortly.")
            else:
                self._authenticator.identify(exchange, self._admitted)
        elif found.allowed:
            refuse_method(exchange, found.allowed)
        elif exchange.target == b"/openapi.json":
            exchange.route = "openapi"
            exchange.answer(200, self._openapi)
        elif exchange.target == b"/docs":
            exchange.route = "docs"
            exchange.answer(200, self._docs, content_type=docs.HTML, fields=docs.POLICY)
        elif not self._probes.serves(exchange):
            refuse_path(exchange)

    def _admitted(self, exchange: Exchange, caller: Caller) -> None:
        match: Match = exchange.match  # type: ignore[assignment]  # What `handle` has put there.
        self._serve[match.call.name](exchange, caller, match)

    def _read(self, exchange: Exchange, caller: Caller, match: Match) -> None:
        account = match.id if match.call.path.startswith(ACCOUNTS) else None
        if self._throttle.passes(caller, account):
            self._reads.serve(exchange, caller, match)
        else:
            then = partial(self._reads.serve, exchange, caller, match)
            self._throttle.admit(exchange, caller, then, accounts=(account,))

    def _answered(self, exchange: Exchange) -> None:
        self._in_flight -= 1
        seconds = time.perf_counter() - exchange.started
        self._metrics.answered(exchange.route or "none", exchange.status, seconds)
        if exchange.code:
            self._metrics.refused(exchange.code)
