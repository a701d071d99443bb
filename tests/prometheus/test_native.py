"""Native histograms out of a real Prometheus: exact counts at powers of two, or a problem."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest

from shieldx.signals.native import BOUNDARIES
from shieldx.signals.prometheus import PrometheusSource
from shieldx.signals.prometheus_server import Prometheus
from shieldx.signals.readings import Histogram, Problem, Reading
from tests.support.exposed import Exposed
from tests.support.native import shown
from tests.support.prometheus import SCRAPE_SECONDS, PrometheusServer

NAME = "http_request_duration_seconds"
LATENCY = Histogram("latency", NAME)
CLASSIC = f"""\
# TYPE {NAME} histogram
{NAME}_bucket{{le="0.3"}} 2
{NAME}_bucket{{le="+Inf"}} 3
{NAME}_sum 1
{NAME}_count 3
"""


class Seen:
    """One pod, and what its latency is to a source."""

    def __init__(self, pod: Exposed, source: PrometheusSource) -> None:
        self.pod = pod
        self._source = source

    async def until(self, holds: Callable[[Reading | Problem], bool]) -> Reading | Problem:
        for _ in range(120):
            scrape = await self._source.scrape([LATENCY], [self.pod.pod], [], at=time.time())
            read = scrape.champion[self.pod.pod.uid].readings["latency"]
            if holds(read):
                return read
            await asyncio.sleep(0.25)
        raise AssertionError(f"never: {read}")


@pytest.fixture
async def seen(prometheus: PrometheusServer) -> AsyncIterator[Seen]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        pod = await stack.enter_async_context(Exposed("shop-a"))
        prometheus.scrape({"shop": {pod.name: pod.address}})
        await asyncio.to_thread(prometheus.start)
        source = PrometheusSource(
            Prometheus(session, prometheus.url),
            match_labels={},
            pod_label="pod",
            scrape_interval_seconds=SCRAPE_SECONDS,
        )
        yield Seen(pod, source)


def at_most(read: Reading | Problem) -> dict[float | None, float]:
    return {it.le: it.value for it in read.series.values()} if isinstance(read, Reading) else {}


@pytest.mark.parametrize("schema", [0, 3])
async def test_requests_are_counted_exactly_at_powers_of_two(seen: Seen, schema: int) -> None:
    chance = random.Random(schema)
    seconds = [chance.lognormvariate(-1, 1.5) for _ in range(1000)] + [0.25, 1.0]
    seen.pod.native = shown(NAME, seconds, schema)

    counted = at_most(await seen.until(lambda it: bool(at_most(it))))

    expected = {le: sum(each <= le for each in seconds) for le in BOUNDARIES}
    assert counted == expected | {float("inf"): len(seconds)}


async def test_a_classic_histogram_has_its_own_boundaries(seen: Seen) -> None:
    seen.pod.raw = CLASSIC

    assert at_most(await seen.until(lambda it: bool(at_most(it)))) == {0.3: 2, float("inf"): 3}


async def test_buckets_that_are_too_coarse_are_said_to_be(seen: Seen) -> None:
    seen.pod.native = shown(NAME, [0.3], schema=-1)

    problem = await seen.until(lambda it: "coarse" in str(it) or "both sides" in str(it))

    assert isinstance(problem, Problem)
    assert "a bucket from 0.25 to 1, on both sides of 0.5" in problem.message
    assert "let the app keep more buckets" in problem.message
