"""What a relay counts; families of its own, since the API counts the same requests again."""

from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from shieldx.sidecar.metrics import LATENCY_SECONDS, Buckets


class RelayMetrics(Collector):
    """Requests of the app, and how few calls they became."""

    def __init__(self, gauges: Callable[[], tuple[int, int, bool]]) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.latency = Buckets(LATENCY_SECONDS)
        self.calls: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.balances: Counter[str] = Counter()
        self.limited = 0
        self._gauges = gauges

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer to the app."""
        self.requests[route, status] += 1
        self.latency.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "shieldx_relay_requests", "Answered requests of the app.", labels=("route", "status")
        )
        for (route, status), count in self.requests.items():
            requests.add_metric((route, str(status)), count)
        yield requests
        latency = HistogramMetricFamily(
            "shieldx_relay_request_seconds", "Time from the complete request to its answer."
        )
        latency.add_metric((), self.latency.cumulative(), self.latency.total)
        yield latency
        yield _counted("shieldx_relay_calls", "Calls to the ledger's API.", "kind", self.calls)
        yield _counted(
            "shieldx_relay_operations",
            "Requests that these calls carried.",
            "kind",
            self.operations,
        )
        yield _counted(
            "shieldx_relay_balance_reads",
            "Balances answered from memory, or by the API.",
            "source",
            self.balances,
        )
        yield CounterMetricFamily(
            "shieldx_relay_limited",
            "Requests above the rate limit that were not passed on: the API had told of it.",
            self.limited,
        )
        queued, in_flight, away = self._gauges()
        yield GaugeMetricFamily("shieldx_relay_queue_length", "Requests that wait.", queued)
        yield GaugeMetricFamily(
            "shieldx_relay_in_flight", "Requests without their answer.", in_flight
        )
        yield GaugeMetricFamily(
            "shieldx_relay_upstream_away", "1 while the ledger's API does not answer.", int(away)
        )


def _counted(name: str, what: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, what, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family
