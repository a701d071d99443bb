"""The source that needs nothing installed: pods' own `/metrics`, read by us."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from shieldx.signals.readings import (
    Counter,
    Pod,
    PodReadings,
    Problem,
    Reading,
    Scrape,
    Trouble,
    reading,
)

TIMEOUT_SECONDS: Final = 3.0
LARGEST_BODY: Final = 4 * 2**20


class PodsSource:
    """Reads `http://POD:port/path`; one client session serves all experiments."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int, path: str) -> None:
        self._session = session
        self._port = port
        self._path = path

    async def scrape(
        self, counters: Sequence[Counter], champion: Sequence[Pod], challenger: Sequence[Pod]
    ) -> Scrape:
        """Read all pods of both arms at once."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                pod.uid: group.create_task(self._read(pod, counters))
                for pod in (*champion, *challenger)
            }
        return Scrape(
            {pod.uid: tasks[pod.uid].result() for pod in champion},
            {pod.uid: tasks[pod.uid].result() for pod in challenger},
        )

    async def _read(self, pod: Pod, counters: Sequence[Counter]) -> PodReadings:
        try:
            text = await self._fetch(pod)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as silence:
            problem = Problem(
                Trouble.NOT_SCRAPED,
                f"pod {pod.name} did not show its metrics: {silence!r}",
            )
            return PodReadings(pod, {counter.name: problem for counter in counters})
        return PodReadings(pod, parse(text, counters, pod.name))

    async def _fetch(self, pod: Pod) -> str:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            self._session.get(
                f"http://{host}:{self._port}{self._path}", allow_redirects=False
            ) as answer,
        ):
            if answer.status != 200:  # noqa: PLR2004 - the one status that brings metrics.
                raise ValueError(f"HTTP {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_chunked(2**16):
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise ValueError(f"more than {LARGEST_BODY} bytes")
            return body.decode()


def parse(text: str, counters: Sequence[Counter], pod: str) -> Mapping[str, Reading | Problem]:
    """Return the counters of one exposition in Prometheus' text format.

    A counter that is declared and has no series yet has counted nothing; one that is not
    declared is no number at all.
    """
    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, KeyError, IndexError) as error:
        problem = Problem(Trouble.MALFORMED, f"pod {pod}: its metrics cannot be read: {error}")
        return {counter.name: problem for counter in counters}
    found: dict[str, Reading | Problem] = {}
    for counter in counters:
        total = bad = 0.0
        declared = False
        for family in families:
            if family.name not in {counter.counter, counter.counter.removesuffix("_total")}:
                continue
            declared = True
            for sample in family.samples:
                if sample.name == counter.counter:
                    total += sample.value
                    bad += sample.value if counter.bad.matches(sample.labels) else 0.0
        found[counter.name] = (
            reading(total, bad)
            if declared
            else Problem(Trouble.NO_SERIES, f"pod {pod} has no counter {counter.counter}")
        )
    return found
