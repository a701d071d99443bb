"""What the keeper counts, as Prometheus reads it."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shieldx.keeper.expiry import Expiry


class KeeperMetrics(Collector):
    """Expired holds, failures, and whether the keeper can work."""

    def __init__(self, expiry: Expiry) -> None:
        self._expiry = expiry

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "shieldx_keeper_holds_expired", "Holds expired by the keeper.", self._expiry.expired
        )
        yield CounterMetricFamily(
            "shieldx_keeper_expiry_failures",
            "Due holds that could not be expired at once.",
            self._expiry.failed,
        )
        yield GaugeMetricFamily(
            "shieldx_keeper_working",
            "1 if the last look for due holds had an answer.",
            int(self._expiry.working),
        )


def exposition(collector: Collector) -> Callable[[], bytes]:
    """Return a function that renders this collector and the process's own metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)
