"""What stands between callers and the ledger so that neither harms the other, and its metrics."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shieldx.breaker import Breaker, State
from shieldx.sidecar.buckets import LocalBuckets
from shieldx.sidecar.config import Config
from shieldx.sidecar.redis import SharedMemory
from shieldx.sidecar.shared_buckets import SharedBuckets
from shieldx.sidecar.throttle import ACCOUNT, CLIENT, Throttle

# How a state is written as a number, the worse the higher.
LEVELS: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class Guards(Collector):
    """The guards of one API process; those in Redis only where its address is given."""

    def __init__(
        self,
        config: Config,
        redis_url_file: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breakers: dict[str, Breaker] = {}
        self._memory: SharedMemory | None = None
        self._shared: SharedBuckets | None = None
        if redis_url_file is not None:
            self._memory = SharedMemory(redis_url_file, monotonic=monotonic)
            self._shared = SharedBuckets(self._memory, config.ledger)
            self.breakers["redis"] = self._memory.breaker
        self.throttle = Throttle(config.rate_limit, LocalBuckets(monotonic), self._shared)

    def follow(self, config: Config) -> None:
        """Take up what may change while the process runs."""
        self.throttle.limits = config.rate_limit

    async def close(self) -> None:
        """Let go of Redis."""
        if self._shared is not None:
            await self._shared.close()
        if self._memory is not None:
            await self._memory.close()

    def collect(self) -> Iterable[Metric]:
        limited = CounterMetricFamily(
            "shieldx_ledger_rate_limited", "Claims that a rate limit refused.", labels=("limit",)
        )
        for limit in (CLIENT, ACCOUNT):
            limited.add_metric((limit,), self.throttle.refused[limit])
        yield limited
        yield GaugeMetricFamily(
            "shieldx_ledger_local_buckets", "Token buckets in this process.", len(self.throttle)
        )
        state = GaugeMetricFamily(
            "shieldx_breaker_state",
            "Circuit breakers: 0 closed, 1 half-open, 2 open.",
            labels=("breaker",),
        )
        opened = CounterMetricFamily(
            "shieldx_breaker_opened", "How often a breaker has opened.", labels=("breaker",)
        )
        for name, breaker in self.breakers.items():
            state.add_metric((name,), LEVELS[breaker.state])
            opened.add_metric((name,), breaker.opened)
        yield state
        yield opened
