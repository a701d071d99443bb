"""What relays count is of the pod that asked; nothing else of a pod takes it away, nor does it."""

from dataclasses import replace

import aiohttp
import pytest

from shieldx.resources.shadowexperiment import DECIDED, REFUSED, RELAY_ANSWERS
from shieldx.signals.pods import PodsSource
from shieldx.signals.readings import Counter, Pod, PodReadings, Problem, Reading, Trouble
from shieldx.signals.relays import RelaysSource
from shieldx.signals.selector import Selector
from tests.support.exposed import Exposed

ERRORS = Counter("errors", "http_requests_total", Selector.parse('code=~"5.."'))
REFUSALS = Counter(
    "refusals", RELAY_ANSWERS, Selector.parse(REFUSED), Selector.parse(DECIDED), "credits"
)
ANSWERS = f"""\
{RELAY_ANSWERS}{{route="consume",status="201"}} 90
{RELAY_ANSWERS}{{route="consume",status="402"}} 10
{RELAY_ANSWERS}{{route="consume",status="503"}} 7
{RELAY_ANSWERS}{{route="get_balance",status="200"}} 1000
{RELAY_ANSWERS}{{route="get_account",status="404"}} 30
{RELAY_ANSWERS}{{route="batch",status="200"}} 50
{RELAY_ANSWERS}{{route="none",status="404"}} 3
"""


def port(exposed: Exposed) -> int:
    return int(exposed.address.rpartition(":")[2])


def sums(found: PodReadings, name: str) -> tuple[float, float]:
    reading = found.readings[name]
    assert isinstance(reading, Reading)
    values = reading.series.values()
    return sum(it.value for it in values), sum(it.value for it in values if it.bad)


async def test_decisions_are_counted_by_pod_and_nothing_else_is() -> None:
    async with aiohttp.ClientSession() as session, Exposed("a", raw=ANSWERS) as relay:
        relay.counts.update({"200": 5, "500": 1})
        pod = replace(relay.pod, ledger="credits", relay_port=port(relay))
        source = RelaysSource(session, PodsSource(session, port=port(relay), path="/metrics"))
        scrape = await source.scrape([ERRORS, REFUSALS], [], [pod], at=0)

    found = scrape.challenger[pod.uid]
    assert sums(found, "refusals") == (100, 10)
    assert sums(found, "errors") == (6, 1)


async def test_each_relay_is_asked_at_its_own_port() -> None:
    async with (
        aiohttp.ClientSession() as session,
        Exposed("old", raw=ANSWERS) as old,
        Exposed("new", raw=ANSWERS.replace("} 10\n", "} 40\n")) as new,
    ):
        pods = [replace(it.pod, ledger="credits", relay_port=port(it)) for it in (old, new)]
        source = RelaysSource(session, PodsSource(session, port=1, path="/metrics"))
        scrape = await source.scrape([REFUSALS], pods[:1], pods[1:], at=0)

    assert sums(scrape.champion[pods[0].uid], "refusals") == (100, 10)
    assert sums(scrape.challenger[pods[1].uid], "refusals") == (130, 40)


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (Pod("u", "shop-1", "127.0.0.1", 0, 0, ready=True), "pod shop-1 has no relay"),
        (
            replace(
                Pod("u", "shop-1", "127.0.0.1", 0, 0, ready=True), ledger="other", relay_port=1
            ),
            "pod shop-1 names the ledger other",
        ),
    ],
)
async def test_a_pod_without_that_relay_says_what_to_do(pod: Pod, said: str) -> None:
    async with aiohttp.ClientSession() as session:
        source = RelaysSource(session, PodsSource(session, port=1, path="/metrics"))
        scrape = await source.scrape([REFUSALS], [pod], [], at=0)

    problem = scrape.champion["u"].readings["refusals"]
    assert isinstance(problem, Problem)
    assert problem.trouble is Trouble.NO_RELAY
    assert problem.message.startswith(said)
    assert "annotate the pod template with shieldx.io/ledger: credits" in problem.message


async def test_a_relay_that_does_not_answer_takes_nothing_from_the_app() -> None:
    async with aiohttp.ClientSession() as session, Exposed("a") as app:
        app.counts.update({"200": 5})
        pod = replace(app.pod, ledger="credits", relay_port=1)
        source = RelaysSource(session, PodsSource(session, port=port(app), path="/metrics"))
        scrape = await source.scrape([ERRORS, REFUSALS], [pod], [], at=0)

    found = scrape.champion[pod.uid]
    assert sums(found, "errors") == (5, 0)
    problem = found.readings["refusals"]
    assert isinstance(problem, Problem)
    assert problem.trouble is Trouble.NOT_SCRAPED
