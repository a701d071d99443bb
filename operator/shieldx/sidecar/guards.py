"""What stands between callers and the ledger so that neither harms the other, and its metrics."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shieldx.breaker import Breaker, State
from shieldx.ledger.records import Answer
from shieldx.sidecar.balance_cache import BalanceCache, Fetch
from shieldx.sidecar.buckets import ACCOUNT, CLIENT, LocalBuckets
from shieldx.sidecar.config import Config
from shieldx.sidecar.redis import SharedMemory
from shieldx.sidecar.shared_buckets import SharedBuckets
from shieldx.sidecar.throttle import Throttle

# How a state is written as a number, the worse the higher.
LEVELS: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class Guards(Collector):
    """The guards of one API process; those in Redis only where its address is given."""

    def __init__(
        self,
        config: Config,
        fetch: Fetch,
        redis_url_file: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breakers: dict[str, Breaker] = {}
        self.balances: Fetch = fetch
        self._cache: BalanceCache | None = None
        self._memory: SharedMemory | None = None
        self._shared: SharedBuckets | None = None
        if redis_url_file is not None:
            self._memory = SharedMemory(redis_url_file, monotonic=monotonic)
            self._shared = SharedBuckets(self._memory, config.ledger)
            shard = f"{config.ledger}/{config.shard}"
            self._cache = BalanceCache(fetch, self._memory, shard, monotonic=monotonic)
            self.balances = self._cache.balances
            self.breakers["redis"] = self._memory.breaker
        self.throttle = Throttle(config.rate_limit, LocalBuckets(monotonic), self._shared)

    def follow(self, config: Config) -> None:
        """Take up what may change while the process runs."""
        self.throttle.follow(config.rate_limit)

    def acknowledged(self, answers: Sequence[Answer]) -> None:
        """Take notice of what this process is about to tell of its writes."""
        if self._cache is not None:
            self._cache.acknowledged(answers)

    async def close(self) -> None:
        """Let go of Redis."""
        if self._cache is not None:
            await self._cache.close()
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
        yield from self._cached()
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

    def _cached(self) -> Iterable[Metric]:
        if self._cache is not None:
            looked_up = CounterMetricFamily(
                "shieldx_ledger_cached_balances",
                "Balances that Redis knew (hit), and that Postgres was asked for (miss).",
                labels=("result",),
            )
            looked_up.add_metric(("hit",), self._cache.hits)
            looked_up.add_metric(("miss",), self._cache.misses)
            yield looked_up
