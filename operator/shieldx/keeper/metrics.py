"""What the keeper counts, as Prometheus reads it."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shieldx.keeper.expiry import Expiry


class KeeperMetrics(Collector):
    """Settled accounts, failures, and whether the keeper can work."""

    def __init__(self, expiry: Expiry) -> None:
        self._expiry = expiry

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "shieldx_keeper_accounts_settled",
            "Accounts in which the keeper let holds or grants expire or begin.",
            self._expiry.settled,
        )
        yield CounterMetricFamily(
            "shieldx_keeper_settling_failures",
            "Due accounts that could not be settled at once.",
            self._expiry.failed,
        )
        yield GaugeMetricFamily(
            "shieldx_keeper_working",
            "1 if the last look for due accounts had an answer.",
            int(self._expiry.working),
        )


def exposition(collector: Collector) -> Callable[[], bytes]:
    """Return a function that renders this collector and the process's own metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)
