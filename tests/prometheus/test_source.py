"""Counts out of a real Prometheus: each event once, and absence never as a value."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

import aiohttp
import pytest

from shieldx.signals.buckets import Bucket, Recorder
from shieldx.signals.prometheus import PrometheusSource
from shieldx.signals.prometheus_server import Prometheus
from shieldx.signals.readings import (
    Counter,
    Histogram,
    PodReadings,
    Problem,
    Reading,
    Scrape,
    Series,
    Trouble,
)
from shieldx.signals.selector import Selector
from shieldx.signals.states import EvidenceReason, EvidenceState
from tests.support.exposed import Exposed
from tests.support.prometheus import SCRAPE_SECONDS, PrometheusServer

ERRORS = Counter("errors", "http_requests_total", Selector.parse('code=~"5.."'))
BUCKET = 3.0


class Shop:
    """Two pods of the champion, one of the challenger, and what is read of them."""

    def __init__(self, server: PrometheusServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session
        self.champion = [Exposed("shop-a"), Exposed("shop-b")]
        self.challenger = [Exposed("shop-challenger-a")]
        self.recorder = Recorder(["errors"], BUCKET)

    @property
    def all(self) -> list[Exposed]:
        return [*self.champion, *self.challenger]

    def watch(self, *jobs: str) -> None:
        """Let Prometheus scrape the pods, once for each of the jobs."""
        self.server.scrape({job: {it.name: it.address for it in self.all} for job in jobs})

    def source(self, **match_labels: str) -> PrometheusSource:
        return PrometheusSource(
            Prometheus(self.session, self.server.url),
            match_labels=match_labels,
            pod_label="pod",
            scrape_interval_seconds=SCRAPE_SECONDS,
        )

    async def look(self, source: PrometheusSource, at: float) -> Scrape:
        pods = [[it.pod for it in arm] for arm in (self.champion, self.challenger)]
        return await source.scrape([ERRORS], *pods, at=at)

    async def rounds(self, source: PrometheusSource, number: int) -> list[Bucket]:
        """Look at the ends of so many buckets, and return them."""
        at = self.recorder.boundary(time.time())
        for _ in range(number + 1):
            at += BUCKET
            # A scrape may take a moment until it is stored.
            await asyncio.sleep(at + 0.4 - time.time())
            self.recorder.add(await self.look(source, at), at)
        return self.recorder.closed()

    async def until(self, source: PrometheusSource, holds: Callable[[Scrape], bool]) -> Scrape:
        for _ in range(120):
            seen = await self.look(source, time.time())
            if holds(seen):
                return seen
            await asyncio.sleep(0.25)
        raise AssertionError(f"never: {seen}")


@pytest.fixture
async def shop(prometheus: PrometheusServer) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        made = Shop(prometheus, session)
        for it in made.all:
            it.counts["200"] = 1000
            await stack.enter_async_context(it)
        made.watch("shop")
        await asyncio.to_thread(prometheus.start)
        yield made


def readings(seen: Scrape) -> list[Reading | Problem]:
    return [it.readings["errors"] for it in (*seen.champion.values(), *seen.challenger.values())]


def whole(seen: Scrape) -> bool:
    return all(isinstance(it, Reading) and it.series for it in readings(seen))


def arms(seen: Scrape) -> tuple[Mapping[str, PodReadings], Mapping[str, PodReadings]]:
    return seen.champion, seen.challenger


def troubles(seen: Scrape) -> list[Trouble | None]:
    return [it.trouble if isinstance(it, Problem) else None for it in readings(seen)]


def troubled(trouble: Trouble) -> Callable[[Scrape], bool]:
    return lambda seen: troubles(seen)[-1] is trouble


def totals(buckets: Sequence[Bucket], arm: str) -> tuple[float, float]:
    """Return requests and bad ones that all buckets together hold of an arm."""
    pods = [each for it in buckets for each in getattr(it.metrics["errors"], arm).values()]
    return sum(n for n, _ in pods), sum(bad for _, bad in pods)


async def test_every_event_is_counted_once_whenever_a_pod_is_scraped(shop: Shop) -> None:
    source = shop.source(namespace="shop")
    await shop.until(source, whole)
    dice = random.Random(7)

    async def traffic() -> None:
        while True:
            for it in shop.all:
                it.counts["200"] += dice.randrange(20)
                it.counts["500"] += dice.randrange(3)  # The first of them makes a new series.
            await asyncio.sleep(0.05)

    await shop.rounds(source, 0)
    going = asyncio.create_task(traffic())
    buckets = await shop.rounds(source, 3)
    going.cancel()
    buckets += await shop.rounds(source, 1)

    for arm in ("champion", "challenger"):
        pods = getattr(shop, arm)
        counted = sum(it.counts.total() - 1000 for it in pods), sum(it.counts["500"] for it in pods)
        assert totals(buckets, arm) == counted
    assert {bucket.state for bucket in buckets[:3]} == {EvidenceState.SUFFICIENT}


async def test_a_pod_that_restarts_between_scrapes_counts_anew_and_takes_safety_with_it(
    shop: Shop,
) -> None:
    source = shop.source()
    await shop.until(source, whole)
    await shop.rounds(source, 0)
    shop.challenger[0].counts["500"] += 7
    shop.challenger[0].restart()
    shop.challenger[0].counts["200"] = 30
    buckets = await shop.rounds(source, 1)

    assert totals(buckets, "challenger") == (30, 0)
    assert any(bucket.challenger_restarted for bucket in buckets)
    assert EvidenceReason.MALFORMED not in {bucket.reason for bucket in buckets}


async def test_a_pod_that_two_jobs_scrape_is_not_counted_twice(shop: Shop) -> None:
    shop.watch("shop", "shop-again")

    seen = await shop.until(shop.source(), troubled(Trouble.AMBIGUOUS))
    chosen = await shop.until(shop.source(job="shop"), whole)

    (problem,) = {it.message for it in readings(seen)[-1:] if isinstance(it, Problem)}
    assert "from job 'shop' at" in problem
    assert "spec.metrics.source.prometheus.matchLabels" in problem
    assert [len(it.series) for it in readings(chosen) if isinstance(it, Reading)] == [1, 1, 1]


async def test_the_sidecar_of_a_pod_is_no_second_count_of_the_app(shop: Shop) -> None:
    async with AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(Exposed(it.name)) for it in shop.all]
        for relay in relays:
            relay.raw = 'relayed_total{status="402"} 3'
        targets = {"shop": shop.all, "relay": relays}
        shop.server.scrape(
            {job: {it.name: it.address for it in pods} for job, pods in targets.items()}
        )
        refusals = Counter("refusals", "relayed_total", Selector.parse('status="402"'))
        source = shop.source()
        pods = [it.pod for it in shop.all]
        for _ in range(120):
            seen = await source.scrape([ERRORS, refusals], pods, [], at=time.time())
            found = [it.readings for it in seen.champion.values()]
            if all(isinstance(v, Reading) and v.series for it in found for v in it.values()):
                break
            await asyncio.sleep(0.25)

    for it in found:
        errors, refused = it["errors"], it["refusals"]
        assert isinstance(errors, Reading)
        assert isinstance(refused, Reading)
        assert errors.series == {"code='200'": Series(1000)}
        assert refused.series == {"status='402'": Series(3, bad=True)}


async def test_a_histogram_says_how_many_were_slower(shop: Shop) -> None:
    latency = Histogram("latency", "seconds")
    source = shop.source()
    recorder = Recorder(["latency"], BUCKET)

    def show(at_most: int, total: int) -> None:
        for it in shop.all:
            it.raw = f'seconds_bucket{{le="0.25"}} {at_most}\nseconds_bucket{{le="+Inf"}} {total}'

    async def seen(total: int) -> Scrape:
        for _ in range(120):
            pods = [[it.pod for it in arm] for arm in (shop.champion, shop.challenger)]
            scrape = await source.scrape([latency], *pods, at=time.time())
            found = [it.readings["latency"] for arm in arms(scrape) for it in arm.values()]
            if all(
                isinstance(v, Reading) and any(it.value == total for it in v.series.values())
                for v in found
            ):
                return scrape
            await asyncio.sleep(0.25)
        raise AssertionError(f"never: {found}")

    show(90, 100)
    recorder.add(await seen(100), 0)
    show(180, 200)
    recorder.add(await seen(200), BUCKET)

    (closed,) = recorder.closed()
    assert closed.metrics["latency<=0.25"].counts == (200, 20, 100, 10)


async def test_what_cannot_be_scraped_is_said_and_is_no_value(shop: Shop) -> None:
    source = shop.source()
    await shop.until(source, whole)
    shop.challenger[0].status = 500
    seen = await shop.until(source, troubled(Trouble.NOT_SCRAPED))
    assert readings(seen)[-1] == Problem(
        Trouble.NOT_SCRAPED, "Prometheus could not scrape pod shop-challenger-a"
    )
    assert seen.early

    shop.challenger[0].status = 200
    await shop.until(source, whole)
    shop.server.scrape({"shop": {it.name: it.address for it in shop.champion}})
    seen = await shop.until(source, troubled(Trouble.NOT_SCRAPED))
    last = readings(seen)[-1]
    assert isinstance(last, Problem)
    assert "nothing newer than" in last.message or "no sample of late" in last.message


async def test_a_value_that_counts_nothing_makes_no_reading(shop: Shop) -> None:
    lies = dict(zip(shop.all, ("NaN", "1e300", "0.5"), strict=True))
    for it, lie in lies.items():
        it.raw = f'http_requests_total{{code="503"}} {lie}'

    seen = await shop.until(shop.source(), lambda seen: Trouble.NOT_SCRAPED not in troubles(seen))

    assert troubles(seen) == [Trouble.MALFORMED] * 3


async def test_a_counter_that_runs_backwards_is_an_error_and_no_value(shop: Shop) -> None:
    source = shop.source()
    shop.challenger[0].counts["500"] = 100
    await shop.until(source, whole)
    await shop.rounds(source, 0)
    shop.challenger[0].counts["500"] = 40
    shop.challenger[0].counts["200"] += 10
    (first, *_) = await shop.rounds(source, 1)

    assert (first.reason, first.metrics["errors"].counts) == (EvidenceReason.MALFORMED, None)


async def test_a_label_that_no_series_has_is_said(shop: Shop) -> None:
    mistyped = Counter("errors", "http_requests_total", Selector.parse('status="500"'))
    source = shop.source()
    await shop.until(source, whole)

    seen = await source.scrape([mistyped], [shop.champion[0].pod], [], at=time.time())

    (value,) = readings(seen)
    assert isinstance(value, Problem)
    assert "has no label 'status': ['code']" in value.message


async def test_a_prometheus_that_is_stopped_is_waited_for_and_then_goes_on(shop: Shop) -> None:
    source = shop.source()
    await shop.until(source, whole)
    shop.server.kill()
    for it in shop.all:
        it.counts["200"] += 500
        it.counts["500"] += 500
    away = await shop.rounds(source, 3)
    await asyncio.to_thread(shop.server.start)
    await shop.until(source, whole)
    back = await shop.rounds(source, 2)

    assert {(it.state, it.reason) for it in away} == {
        (EvidenceState.PROVIDER_ERROR, EvidenceReason.NOT_SCRAPED)
    }
    assert [it.metrics["errors"].counts for it in away] == [None] * 3
    assert "does not answer" in away[0].message
    # What was counted meanwhile is of no known bucket.
    assert totals([*away, *back], "challenger") == (0, 0)
    assert back[-1].reason is EvidenceReason.NO_TRAFFIC
