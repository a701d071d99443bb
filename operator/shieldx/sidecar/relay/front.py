"""What the app talks to: decides how a request travels, and answers it as the API would.

Writes that can travel together do; everything else travels alone. Balances that are fresh are
answered from memory, and whoever asks for one that is being asked for waits with the others.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

from shieldx.ledger.relay import OwnAnswers, Relay, RelayLimits
from shieldx.sidecar.buckets import RATE_LIMITED, explained, whole_seconds
from shieldx.sidecar.calls import CALLS
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.probes import Probes, refuse_method, refuse_path
from shieldx.sidecar.relay.balances import FRESH_SECONDS, Balances, left_by
from shieldx.sidecar.relay.carriers import Alone, Together, standing
from shieldx.sidecar.relay.items import Item, Told, item, measure
from shieldx.sidecar.relay.metrics import RelayMetrics
from shieldx.sidecar.relay.pace import Pace
from shieldx.sidecar.relay.polls import Polls
from shieldx.sidecar.relay.upstream import Upstream
from shieldx.sidecar.router import Match, Mismatch, Router

METHODS: Final = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"))
DEADLINE_SECONDS: Final = 5.0
CALLS_ALONE: Final = 16
MOST_IN_FLIGHT: Final = 4_000
MOST_BYTES: Final = 32 * 1024 * 1024
# How soon a balance is read again that was older than the relay's own write.
AGAIN_SECONDS: Final = 0.02

NOT_SENT: Final = Told(503, b"", "shard_unavailable")
UNKNOWN: Final = Told(503, b"", "outcome_unknown")
OVERLOADED: Final = Told(503, b"", "overloaded")
BROKEN: Final = Told(500, b"", "internal_error")
OWN: Final = OwnAnswers(NOT_SENT, UNKNOWN, OVERLOADED, BROKEN)
MESSAGES: Final = {
    NOT_SENT.code: "The ledger's API does not answer, and nothing was done: try again.",
    UNKNOWN.code: "The answer of the ledger's API was lost: retry with the same key, which "
    "settles it.",
    OVERLOADED.code: "Too many requests at once; try again shortly.",
    BROKEN.code: "Our fault: see the relay's log.",
}


@dataclass(slots=True)
class _Asked:
    """A balance that is on its way, and who waits for it."""

    at: float
    until: float
    waiting: list[Exchange] = field(default_factory=list)


class Front:
    """Routes the app's requests."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = RelayMetrics(self._gauges)
        self.probes = Probes(self._unready, self.metrics)
        self._draining = False
        self._upstream = upstream
        self._deadline_seconds = deadline_seconds
        self._monotonic = monotonic
        self._together = Relay(
            Counted(Together(upstream), self.metrics, "together"),
            OWN,
            measure=measure,
            standing=standing,
            limits=RelayLimits(queue_operations=MOST_IN_FLIGHT, deadline_seconds=deadline_seconds),
        )
        self._alone = Relay(
            Counted(Alone(upstream), self.metrics, "alone"),
            OWN,
            measure=measure,
            standing=standing,
            limits=RelayLimits(
                call_operations=1,
                calls=CALLS_ALONE,
                queue_operations=MOST_IN_FLIGHT,
                deadline_seconds=deadline_seconds,
            ),
        )
        self._polls = Polls(upstream, NOT_SENT, OVERLOADED)
        self._pace = Pace(monotonic)
        self._balances = Balances()
        self._asked: dict[str, _Asked] = {}
        self._router = Router(CALLS)
        self._in_flight = 0
        self._bytes = 0

    async def start(self) -> None:
        """Begin to carry."""
        await self._together.start()
        await self._alone.start()

    async def close(self) -> None:
        """Settle what was accepted, and end."""
        self.drain()
        await asyncio.gather(self._together.close(), self._alone.close())

    def drain(self) -> None:
        """Go on serving, but say that this ends soon, and let nobody wait for news."""
        self._draining = True
        self._polls.close()

    def handle(self, exchange: Exchange) -> None:
        """Serve one request of the app; the answer may come later."""
        exchange.started = self._monotonic()
        exchange.on_answer = self._answered
        self._in_flight += 1
        self._bytes += len(exchange.body)
        found = self._router.find(exchange.method, exchange.target)
        exchange.match = found
        if isinstance(found, Match):
            exchange.route = found.call.name
        elif self.probes.serves(exchange):
            return
        if exchange.method not in METHODS or not exchange.target.startswith(b"/"):
            _refuse_here(exchange, found)
        elif self._in_flight > MOST_IN_FLIGHT or self._bytes > MOST_BYTES:
            self._refuse(exchange, OVERLOADED)
        elif self._upstream.away:
            self._refuse(exchange, NOT_SENT)
        elif exchange.route == "get_balance" and not exchange.query:
            self._balance(exchange, cast("Match", found).id)
        elif exchange.route == "list_events":
            self._polls.submit(item(exchange), partial(self._told_alone, exchange))
        else:
            self._carry(exchange, found if isinstance(found, Match) else None)

    def _carry(self, exchange: Exchange, match: Match | None) -> None:
        # Of the app's own batches it is for the API to say how much it does.
        if exchange.route != "batch" and self._too_often(exchange):
            return
        one = item(exchange, match)
        if one.operation is None:
            _submit(self._alone, one, partial(self._told_alone, exchange))
        else:
            _submit(self._together, one, partial(self._told_together, exchange, one))

    def _too_often(self, exchange: Exchange) -> bool:
        """Refuse in the API's words what it would refuse, going by what it has said."""
        short = self._pace.ask()
        if short is None:
            return False
        self.metrics.limited += 1
        message, facts = explained(*short)
        exchange.refuse(RATE_LIMITED, message, facts, retry_after=whole_seconds(short[1]))
        return True

    def _told_together(self, exchange: Exchange, one: Item, told: Told) -> None:
        if told.again:
            _submit(self._alone, one, partial(self._told_alone, exchange))
            return
        if told.versions is None:
            self._told_alone(exchange, told)
            return
        self._balances.written(told.versions, now=self._monotonic())
        _give(exchange, told)

    def _told_alone(self, exchange: Exchange, told: Told) -> None:
        if not told.payload:
            self._refuse(exchange, told)
            return
        if told.code == RATE_LIMITED:
            self._pace.refused(told.payload)
        # What is only rehearsed changes nothing, and its versions never come.
        if exchange.method != b"GET" and not exchange.query and told.status < 300:  # noqa: PLR2004 - HTTP's success
            self._balances.written(left_by(told.payload), now=self._monotonic())
        _give(exchange, told)

    def _balance(self, exchange: Exchange, account: str) -> None:
        now = self._monotonic()
        known = self._balances.known(account, now)
        if known is not None:
            self.metrics.balances["memory"] += 1
            exchange.answer(200, known)
            return
        asked = self._asked.get(account)
        # An answer that has been awaited for long would be old news to who asks only now.
        if asked is None or now - asked.at > FRESH_SECONDS:
            if self._too_often(exchange):
                return
            asked = self._asked[account] = _Asked(now, now + self._deadline_seconds)
            self._ask(account, asked, item(exchange))
        self.metrics.balances["api"] += 1
        asked.waiting.append(exchange)

    def _ask(self, account: str, asked: _Asked, one: Item) -> None:
        _submit(self._alone, one, partial(self._told_balance, account, asked, one))

    def _told_balance(self, account: str, asked: _Asked, one: Item, told: Told) -> None:
        now = self._monotonic()
        done = told.status == 200  # noqa: PLR2004 - HTTP's success
        if done and not self._balances.read(account, told.payload, asked=asked.at):
            if now < asked.until:
                asked.at = now
                loop = asyncio.get_running_loop()
                loop.call_later(AGAIN_SECONDS, self._ask, account, asked, one)
                return
            told = NOT_SENT
        if told.code == RATE_LIMITED:
            self._pace.refused(told.payload)
        if self._asked.get(account) is asked:
            del self._asked[account]
        for exchange in asked.waiting:
            if told.payload:
                _give(exchange, told)
            else:
                self._refuse(exchange, told)

    def _refuse(self, exchange: Exchange, told: Told) -> None:
        # What only reads is not done by halves.
        code = told.code
        if exchange.method == b"GET" and code == UNKNOWN.code:
            code = NOT_SENT.code
        exchange.refuse(code, MESSAGES[code])

    def _unready(self) -> str | None:
        # Not even while the API is away: who would be asked instead?
        return "The process is stopping." if self._draining else None

    def _gauges(self) -> tuple[int, int, bool]:
        queued = self._together.queued + self._alone.queued
        return queued, self._in_flight, self._upstream.away

    def _answered(self, exchange: Exchange) -> None:
        self._in_flight -= 1
        self._bytes -= len(exchange.body)
        seconds = self._monotonic() - exchange.started
        self.metrics.answered(exchange.route or "none", exchange.status, seconds)


class Counted:
    """Counts the calls of a carrier."""

    def __init__(self, carrier: Alone | Together, metrics: RelayMetrics, kind: str) -> None:
        self._carrier = carrier
        self._metrics = metrics
        self._kind = kind

    async def send(self, items: Sequence[Item]) -> Sequence[Told]:
        """Carry, and count."""
        self._metrics.calls[self._kind] += 1
        self._metrics.operations[self._kind] += len(items)
        return await self._carrier.send(items)


def _submit(relay: Relay[Item, Told], one: Item, done: Callable[[Told], None]) -> None:
    """Give an item to a relay; what never had a connection has an outcome that is known."""

    def told(answer: Told) -> None:
        done(NOT_SENT if answer is UNKNOWN and not one.sent else answer)

    relay.submit(one, told)


def _refuse_here(exchange: Exchange, found: Match | Mismatch) -> None:
    """Refuse what cannot be passed on, in the API's words."""
    if isinstance(found, Mismatch) and found.allowed:
        refuse_method(exchange, found.allowed)
    else:
        refuse_path(exchange)


def _give(exchange: Exchange, told: Told) -> None:
    exchange.code = told.code
    exchange.answer(told.status, told.payload, content_type=told.content_type, fields=told.fields)
