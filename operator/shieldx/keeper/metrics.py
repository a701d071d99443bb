"""What the keeper counts, as Prometheus reads it."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shieldx.keeper.clock import ClockWatch
from shieldx.keeper.expiry import Expiry
from shieldx.keeper.webhooks import Delivery


class KeeperMetrics(Collector):
    """What was settled or failed, whether the keeper and the clock work, how far webhooks are."""

    def __init__(
        self, expiry: Expiry, clock: ClockWatch, deliveries: Sequence[Delivery] = ()
    ) -> None:
        self._expiry = expiry
        self._clock = clock
        self._deliveries = deliveries

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
        yield GaugeMetricFamily(
            "shieldx_keeper_clock_behind_seconds",
            "By how much the database's clock is behind the ledger's time, which stands still.",
            self._clock.behind_seconds,
        )
        yield from self._webhooks()

    def _webhooks(self) -> Iterable[Metric]:
        told = CounterMetricFamily(
            "shieldx_keeper_events_delivered", "Events that a webhook accepted.", labels=["webhook"]
        )
        failed = CounterMetricFamily(
            "shieldx_keeper_delivery_failures",
            "Times that a webhook did not accept what was sent.",
            labels=["webhook"],
        )
        behind = GaugeMetricFamily(
            "shieldx_keeper_delivery_lag_entries",
            "Entries of the chain that a webhook has not got yet, refusals included.",
            labels=["webhook"],
        )
        for delivery in self._deliveries:
            told.add_metric([delivery.name], delivery.delivered)
            failed.add_metric([delivery.name], delivery.failed)
            behind.add_metric([delivery.name], delivery.behind)
        yield from (told, failed, behind)


def exposition(collector: Collector) -> Callable[[], bytes]:
    """Return a function that renders this collector and the process's own metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)
