"""Reading what pods expose, from real sockets on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from shieldx.signals.pods import PodsSource, parse
from shieldx.signals.readings import Counter, Pod, Problem, Reading, Trouble
from shieldx.signals.selector import Selector

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


def test_bad_series_are_summed_apart() -> None:
    assert parse(TEXT, [COUNTER], "p")["errors"] == Reading(100, 10)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("# TYPE http_requests_total counter\n", Reading(0, 0)),
        ("# TYPE other_total counter\nother_total 1\n", Trouble.NO_SERIES),
        ("", Trouble.NO_SERIES),
        ('http_requests_total{code="500" 3\n', Trouble.MALFORMED),
        ("<html>not found</html>", Trouble.MALFORMED),
        (
            '# TYPE http_requests_total counter\nhttp_requests_total{code="200"} NaN\n',
            Trouble.MALFORMED,
        ),
    ],
)
def test_what_is_declared_counts_and_what_is_not_is_no_number(
    text: str, outcome: Reading | Trouble
) -> None:
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
        (200, TEXT, Reading(100, 10)),
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

    scrape = await source.scrape([COUNTER], [it], [])

    found = scrape.champion["u"].readings["errors"]
    assert (found.trouble if isinstance(found, Problem) else found) == outcome
    await runner.cleanup()


async def test_a_closed_port_is_a_problem_and_no_exception(session: aiohttp.ClientSession) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    source = PodsSource(session, port=port, path="/metrics")

    scrape = await source.scrape([COUNTER], [], [Pod("u", "p", "127.0.0.1", 0, 0, ready=True)])

    assert isinstance(scrape.challenger["u"].readings["errors"], Problem)
