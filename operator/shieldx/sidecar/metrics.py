"""What the API counts: plain numbers on the hot path, Prometheus families when scraped.

A labelled prometheus-client counter takes a lock and a dictionary of its own for every request;
here a request costs one dictionary entry and one bucket, and the families are made by a collector.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

LATENCY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


class Buckets:
    """A histogram of plain integers."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, number of observations at or below it) pairs."""
        pairs, running = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            pairs.append(("+Inf" if bound == float("inf") else str(bound), float(running)))
        return pairs


class ApiMetrics(Collector):
    """Requests, latencies, refusals, batches and the queue of one API process."""

    def __init__(self, *, queue_length: Callable[[], int], connections: Callable[[], int]) -> None:
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.refusals: defaultdict[str, int] = defaultdict(int)
        self.latency: defaultdict[str, Buckets] = defaultdict(partial(Buckets, LATENCY_SECONDS))
        self.batch_size = Buckets(BATCH_SIZES)
        self.batch_seconds = Buckets(LATENCY_SECONDS)
        self.also: list[Callable[[], Iterable[Metric]]] = []
        self._queue_length = queue_length
        self._connections = connections

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self.requests[route, status] += 1
        self.latency[route].observe(seconds)

    def refused(self, code: str) -> None:
        """Count one refusal by its code."""
        self.refusals[code] += 1

    def batch(self, size: int, seconds: float) -> None:
        """Count one batch of the engine."""
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "shieldx_ledger_requests", "Answered requests.", labels=("route", "status")
        )
        for (route, status), count in self.requests.items():
            requests.add_metric((route, str(status)), count)
        yield requests
        latency = HistogramMetricFamily(
            "shieldx_ledger_request_seconds",
            "Time from the complete request to its answer.",
            labels=("route",),
        )
        for route, buckets in self.latency.items():
            latency.add_metric((route,), buckets.cumulative(), buckets.total)
        yield latency
        refusals = CounterMetricFamily(
            "shieldx_ledger_refusals", "Refused operations.", labels=("code",)
        )
        for code, count in self.refusals.items():
            refusals.add_metric((code,), count)
        yield refusals
        yield _histogram(
            "shieldx_ledger_batch_size", "Operations stored by one commit.", self.batch_size
        )
        yield _histogram(
            "shieldx_ledger_batch_seconds",
            "Time of one batch: decide and store.",
            self.batch_seconds,
        )
        yield GaugeMetricFamily(
            "shieldx_ledger_queue_length", "Operations that wait for a batch.", self._queue_length()
        )
        yield GaugeMetricFamily(
            "shieldx_ledger_connections", "Open client connections.", self._connections()
        )
        for more in self.also:
            yield from more()


def exposition(*collectors: Collector) -> Callable[[], bytes]:
    """Return a function that renders these collectors and the process's own metrics."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def _histogram(name: str, documentation: str, buckets: Buckets) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, documentation)
    family.add_metric((), buckets.cumulative(), buckets.total)
    return family
