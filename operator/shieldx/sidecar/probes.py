"""What every HTTP program of a ledger answers to anybody: probes, metrics, "no such path"."""

from collections.abc import Callable

from prometheus_client.registry import Collector

from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.metrics import CONTENT_TYPE, exposition


class Probes:
    """What is answered to anybody: is the process alive, ready, and what does it count."""

    def __init__(self, unready: Callable[[], str | None], *metrics: Collector) -> None:
        self._unready = unready
        self._exposition = exposition(*metrics)
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


def refuse_path(exchange: Exchange) -> None:
    exchange.refuse("not_found", "There is no such path; see /openapi.json.")


def refuse_method(exchange: Exchange, allowed: tuple[str, ...]) -> None:
    fields = f"allow: {', '.join(allowed)}\r\n".encode()
    message = f"This path takes {', '.join(allowed)}."
    exchange.refuse("method_not_allowed", message, fields=fields)
