"""Reading what pods expose, from real sockets on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from shieldx.signals import pods
from shieldx.signals.pods import PodsSource, parse
from shieldx.signals.readings import Counter, Pod, Problem, Reading, Series, Trouble
from shieldx.signals.selector import Selector
from shieldx.signals.sources import open_session

COUNTER = Counter("errors", "http_requests_total", Selector.parse('code=~"5.."'))
TEXT = """\
# TYPE http_requests_total counter
http_requests_total{code="200"} 90
http_requests_total{code="500"} 7
http_requests_total{code="503"} 3
# TYPE http_requests_created gauge
http_requests_created{code="200"} 1.7e9
# TYPE other_total counter
other_total 5
"""
READ = Reading(
    {
        "code='200'": Series(90, bad=False),
        "code='500'": Series(7, bad=True),
        "code='503'": Series(3, bad=True),
    }
)


def test_each_series_is_read_and_judged() -> None:
    assert parse(TEXT, [COUNTER], "p")["errors"] == READ


def test_other_counters_cannot_spoil_this_one() -> None:
    spoilt = f"{TEXT}http_requests_total_of_others NaN\nbroken{{ 1\n"

    assert parse(spoilt, [COUNTER], "p")["errors"] == READ


def test_a_page_of_megabytes_does_not_hold_up_the_loop() -> None:
    page = TEXT + 'other_total{path="/x"} 5\n' * 150_000

    before = time.process_time()
    found = parse(page, [COUNTER], "p")
    took = time.process_time() - before

    assert found["errors"] == READ
    assert took < 1  # Parsed whole, it takes ten times that.


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("# TYPE http_requests_total counter\n", Reading({})),
        ("# TYPE other_total counter\nother_total 1\n", Reading({})),
        ("", Reading({})),
        ('http_requests_total{status="500"} 3\n', Trouble.NO_LABEL),
        ("http_requests_total 3\n", Trouble.NO_LABEL),
        ('http_requests_total{code="500"} 3\n' * 2, Trouble.MALFORMED),
        ('http_requests_total{code="500"} -3\n', Trouble.MALFORMED),
        ('http_requests_total{code="500"} 1e99\n', Trouble.MALFORMED),
        (
            "".join(f'http_requests_total{{code="{n}"}} 1\n' for n in range(2001)),
            Trouble.MALFORMED,
        ),
        ('http_requests_total{code="500" 3\n', Trouble.MALFORMED),
        ("<html>not found</html>", Trouble.MALFORMED),
        (
            '# TYPE http_requests_total counter\nhttp_requests_total{code="200"} NaN\n',
            Trouble.MALFORMED,
        ),
    ],
)
def test_only_counts_become_a_reading(text: str, outcome: Reading | Trouble) -> None:
    found = parse(text, [COUNTER], "p")["errors"]

    assert (found.trouble if isinstance(found, Problem) else found) == outcome


type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, TEXT, READ),
        (404, "", Trouble.NOT_SCRAPED),
        (302, "", Trouble.NOT_SCRAPED),
        (200, "x" * (5 * 2**20), Trouble.NOT_SCRAPED),
    ],
)
async def test_only_a_plain_answer_of_bounded_size_is_read(
    session: aiohttp.ClientSession, status: int, body: str, outcome: Reading | Trouble
) -> None:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers={"location": "/elsewhere"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    source = PodsSource(session, port=port, path="/metrics")
    it = Pod("u", "p", "127.0.0.1", 0, 0, ready=True)

    scrape = await source.scrape([COUNTER], [it], [], at=0)

    found = scrape.champion["u"].readings["errors"]
    assert (found.trouble if isinstance(found, Problem) else found) == outcome
    await runner.cleanup()


async def test_a_closed_port_is_a_problem_and_no_exception(session: aiohttp.ClientSession) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    source = PodsSource(session, port=port, path="/metrics")

    it = Pod("u", "p", "127.0.0.1", 0, 0, ready=True)
    scrape = await source.scrape([COUNTER], [], [it], at=0)

    assert isinstance(scrape.challenger["u"].readings["errors"], Problem)


async def test_pods_that_hang_hold_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods, "TIMEOUT_SECONDS", 30)
    app, over, all_hang, asked = web.Application(), asyncio.Event(), asyncio.Event(), 0

    async def hang(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == len(many):
            all_hang.set()
        await over.wait()
        return web.Response()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=TEXT)

    app.router.add_get("/hang", hang)
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    many = [Pod(f"u{at}", "p", "127.0.0.1", 0, 0, ready=True) for at in range(150)]
    async with open_session() as session:
        hanging = PodsSource(session, port=port, path="/hang")
        waiting = asyncio.create_task(hanging.scrape([COUNTER], many, [], at=0))
        await all_hang.wait()

        source = PodsSource(session, port=port, path="/metrics")
        scrape = await source.scrape([COUNTER], many[:1], [], at=0)

        assert not waiting.done()
        over.set()
        await waiting
    assert scrape.champion["u0"].readings["errors"] == READ
    await runner.cleanup()
