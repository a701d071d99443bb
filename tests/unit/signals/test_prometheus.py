"""What becomes of answers that a Prometheus should not give, from a server that gives them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from shieldx.signals import prometheus_server
from shieldx.signals.prometheus import PrometheusSource
from shieldx.signals.prometheus_server import Prometheus, Prometheuses
from shieldx.signals.readings import Counter, Histogram, Pod, Problem, Reading, Series, Trouble
from shieldx.signals.selector import EVERYTHING, Selector

ERRORS = Counter("errors", "http_requests_total", Selector.parse('code=~"5.."'))
POD = Pod("u", "shop.a", "127.0.0.1", 0, 0, ready=True)
AT = 1_000.0

type Json = dict[str, Any]
type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def matrix(*series: tuple[Json, float, str]) -> Json:
    result = [
        {"metric": {"pod": "shop.a", "job": "shop", "instance": "i"} | labels, "values": [[at, n]]}
        for labels, at, n in series
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def counted(code: str, at: float, n: str, **labels: str) -> tuple[Json, float, str]:
    return {"__name__": "http_requests_total", "code": code} | labels, at, n


def up(at: float, value: str = "1") -> tuple[Json, float, str]:
    return {"__name__": "up"}, at, value


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/api/v1/query", handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def read(session: aiohttp.ClientSession, handler: Handler) -> Reading | Problem:
    async with serving(handler) as url:
        return await asked(Prometheus(session, url))


async def asked(server: Prometheus) -> Reading | Problem:
    source = PrometheusSource(server, match_labels={}, pod_label="pod", scrape_interval_seconds=30)
    seen = await source.scrape([ERRORS], [POD], [], at=AT)
    return seen.champion["u"].readings["errors"]


def answering(body: Json | str, status: int = 200) -> Handler:
    text = body if isinstance(body, str) else json.dumps(body)

    async def answer(_: web.Request) -> web.Response:
        headers = {"location": "/elsewhere"}
        return web.Response(
            text=text, status=status, content_type="application/json", headers=headers
        )

    return answer


@pytest.mark.parametrize(
    ("body", "status", "trouble", "says"),
    [
        ("", 500, Trouble.NOT_SCRAPED, "HTTP 500"),
        ("", 302, Trouble.NOT_SCRAPED, "HTTP 302"),
        ("<html>", 200, Trouble.MALFORMED, "not of its query API"),
        ('{"status": "success"', 200, Trouble.MALFORMED, "not of its query API"),
        ('{"status": "success"}', 200, Trouble.MALFORMED, "something else than samples"),
        (
            {"status": "success", "data": {"resultType": "vector", "result": []}},
            200,
            Trouble.MALFORMED,
            "something else than samples",
        ),
        ({"status": "error", "error": "too many samples"}, 422, Trouble.NOT_SCRAPED, "too many"),
        (matrix() | {"warnings": ["store s1 is away"]}, 200, Trouble.NOT_SCRAPED, "in part: store"),
        (matrix(counted("200", AT, "many")), 200, Trouble.MALFORMED, "no number"),
        (matrix(counted("200", AT, "NaN")), 200, Trouble.MALFORMED, "no count of events"),
        (matrix(counted("200", AT, "1e300")), 200, Trouble.MALFORMED, "no count of events"),
        (matrix(), 200, Trouble.NOT_SCRAPED, 'no sample of late with pod="shop.a"'),
        (matrix(counted("200", AT - 33, "1")), 200, Trouble.NOT_SCRAPED, "no sample of late"),
        (matrix(counted("200", AT - 40, "1"), up(AT - 40)), 200, Trouble.NOT_SCRAPED, "40 s older"),
        (matrix(counted("200", AT - 20, "1"), up(AT, "0")), 200, Trouble.NOT_SCRAPED, "could not"),
        (
            matrix(counted("200", AT, "1"), counted("200", AT, "1", job="again")),
            200,
            Trouble.AMBIGUOUS,
            "job 'again' at 'i' and job 'shop' at 'i'",
        ),
        (" " * (5 * 2**20), 200, Trouble.MALFORMED, "more than 4 MiB"),
    ],
)
async def test_an_answer_that_is_none_is_a_problem_with_a_reason(
    session: aiohttp.ClientSession, body: Json | str, status: int, trouble: Trouble, says: str
) -> None:
    found = await read(session, answering(body, status))

    assert isinstance(found, Problem)
    assert found.trouble is trouble
    assert says in found.message


async def test_only_what_the_newest_scrape_brought_is_read(session: aiohttp.ClientSession) -> None:
    answer = matrix(
        counted("200", AT - 3, "90"),
        counted("500", AT - 3, "7"),
        counted("404", AT - 18, "5"),  # No longer shown.
        up(AT - 3),
    )

    found = await read(session, answering(answer))

    assert found == Reading(
        {"code='200'": Series(90, bad=False), "code='500'": Series(7, bad=True)}, taken_at=AT - 3
    )


async def test_a_pod_that_was_scraped_and_has_counted_nothing_has_a_reading(
    session: aiohttp.ClientSession,
) -> None:
    assert await read(session, answering(matrix(up(AT - 3)))) == Reading({}, taken_at=AT - 3)


async def test_the_question_names_counters_pods_and_labels(session: aiohttp.ClientSession) -> None:
    source = PrometheusSource(
        Prometheus(session, "http://x"),
        match_labels={"namespace": 'a"b'},
        pod_label="pod_name",
        scrape_interval_seconds=30,
    )

    assert source.query([ERRORS], [POD]) == (
        '{__name__=~"http_requests_total|up",pod_name=~"shop\\\\.a",namespace="a\\"b"}[64000ms]'
    )


async def test_two_counters_are_asked_for_in_one_question(session: aiohttp.ClientSession) -> None:
    failed = Counter("errors", "failed_total", EVERYTHING, of="requests_total")
    shown = {"failed_total": "3", "requests_total": "20"}
    series = [({"__name__": name}, AT - 3, value) for name, value in shown.items()]
    async with serving(answering(matrix(up(AT - 3), *series))) as url:
        source = PrometheusSource(
            Prometheus(session, url), match_labels={}, pod_label="pod", scrape_interval_seconds=10
        )
        seen = await source.scrape([failed], [POD], [], at=AT)

    assert '__name__=~"failed_total|requests_total|up"' in source.query([failed], [POD])
    read = seen.champion[POD.uid].readings["errors"]
    assert isinstance(read, Reading)
    assert sorted(read.series.values()) == [
        Series(3, bad=True, again=True),
        Series(20, bad=False),
    ]


async def test_a_histogram_that_is_scraped_as_both_kinds_is_counted_once(
    session: aiohttp.ClientSession,
) -> None:
    classic = [({"__name__": "slow_bucket", "le": le}, AT - 3, "7") for le in ("0.3", "+Inf")]
    answer = matrix(up(AT - 3), *classic)
    labels = {"__name__": "slow", "pod": "shop.a", "job": "shop", "instance": "i"}
    native = {"count": "7", "sum": "2", "buckets": [[0, "0.25", "0.5", "7"]]}
    answer["data"]["result"].append({"metric": labels, "histograms": [[AT - 3, native]]})
    async with serving(answering(answer)) as url:
        source = PrometheusSource(
            Prometheus(session, url), match_labels={}, pod_label="pod", scrape_interval_seconds=10
        )
        seen = await source.scrape([Histogram("latency", "slow")], [POD], [], at=AT)

    read = seen.champion[POD.uid].readings["latency"]
    assert isinstance(read, Reading)
    assert sorted(it.le for it in read.series.values() if it.le) == [0.3, float("inf")]


async def test_a_server_that_hangs_is_left_alone_and_holds_up_nobody(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_server, "TIMEOUT_SECONDS", 0.2)
    questions, over = 0, asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        nonlocal questions
        questions += 1
        await over.wait()
        return web.Response()

    async with serving(hang) as url, serving(answering(matrix(up(AT)))) as other:
        servers = Prometheuses(session)
        hanging = servers.at(url)
        tasks = [asked(hanging) for _ in range(30)]
        found = await asyncio.gather(*tasks, asked(servers.at(other)))
        later = await asked(servers.at(url))
        over.set()

    assert servers.at(url) is hanging
    assert isinstance(found[-1], Reading)
    # Each failure lets one more begin, until there were enough.
    assert questions <= prometheus_server.AT_A_TIME + prometheus_server.PATIENCE.failures
    assert isinstance(later, Problem)
    assert "is left alone for a few seconds" in later.message
