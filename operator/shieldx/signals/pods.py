"""The source that needs nothing installed: pods' own `/metrics`, read by us."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from shieldx.signals.readings import (
    Pod,
    PodReadings,
    Problem,
    Question,
    Reading,
    Scrape,
    Trouble,
)
from shieldx.signals.samples import MOST_SERIES, Sample, malformed, reading_of

TIMEOUT_SECONDS: Final = 3.0
LARGEST_BODY: Final = 4 * 2**20
# A compressed answer could unpack to much more than its size.
_HEADERS: Final = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}


class PodsSource:
    """Reads `http://POD:port/path`; one client session serves all experiments."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int, path: str) -> None:
        self._session = session
        self._port = port
        self._path = path

    async def scrape(
        self,
        questions: Sequence[Question],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        *,
        at: float,  # noqa: ARG002 - a pod knows no other time than now.
    ) -> Scrape:
        """Read all pods of both arms at once."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                pod.uid: group.create_task(self._read(pod, questions))
                for pod in (*champion, *challenger)
            }
        return Scrape(
            {pod.uid: tasks[pod.uid].result() for pod in champion},
            {pod.uid: tasks[pod.uid].result() for pod in challenger},
        )

    async def _read(self, pod: Pod, questions: Sequence[Question]) -> PodReadings:
        try:
            text = await self._fetch(pod)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as silence:
            problem = Problem(
                Trouble.NOT_SCRAPED,
                f"pod {pod.name} did not show its metrics: {silence!r}",
            )
            return PodReadings(pod, {it.name: problem for it in questions})
        return PodReadings(pod, parse(text, questions, pod.name))

    async def _fetch(self, pod: Pod) -> str:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            self._session.get(
                f"http://{host}:{self._port}{self._path}",
                allow_redirects=False,
                headers=_HEADERS,
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


def parse(text: str, questions: Sequence[Question], pod: str) -> Mapping[str, Reading | Problem]:
    """Return the counters of one exposition in Prometheus' text format."""
    if text.lstrip().startswith("<"):
        problem = Problem(Trouble.MALFORMED, f"pod {pod} shows a web page instead of metrics")
        return {it.name: problem for it in questions}
    return {it.name: _parse(text, it, pod) for it in questions}


def _parse(text: str, question: Question, pod: str) -> Reading | Problem:
    # Only the lines of these metrics are parsed: a page of megabytes would hold up everybody.
    names = question.metrics
    starts = tuple(f"{name}{after}" for name in names for after in ("{", " ", "\t"))
    lines = [
        line
        for line in text.split("\n")
        if any(name in line for name in names) and line.lstrip(" \t").startswith(starts)
    ]
    if len(lines) > MOST_SERIES:
        return malformed(pod, question, f"more than {MOST_SERIES} series")
    try:
        samples: list[Sample] = [
            (sample.name, sample.labels, float(sample.value))
            for family in text_string_to_metric_families("\n".join([*lines, ""]))
            for sample in family.samples
        ]
    except (ValueError, KeyError, IndexError) as error:
        return malformed(pod, question, f"cannot be read: {error}")
    return reading_of(question, samples, pod)
