"""A Prometheus as a neighbour: asked in bounded numbers, waited for briefly, read up to a limit.

A server that hangs must not hold up experiments that have nothing to do with it, so after a few
failures it is left alone for a while, and says so at once.
"""

import asyncio
import time
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import aiohttp
import msgspec

from shieldx.breaker import Breaker, Patience
from shieldx.signals.native import CoarseError, NativeHistogram, cumulative

TIMEOUT_SECONDS: Final = 5.0
LARGEST_ANSWER: Final = 4 * 2**20
AT_A_TIME: Final = 8
PATIENCE: Final = Patience(failures=3, rest_seconds=1.0, longest_rest_seconds=10.0)
_LONGEST_QUOTE: Final = 200
_LEFT_ALONE: Final = "does not answer, and is left alone for a few seconds"


class SilentError(Exception):
    """Prometheus gave no answer: it is away, slow, overloaded or refuses the question."""


class MalformedAnswerError(Exception):
    """Prometheus gave an answer that is none."""


class Sample(NamedTuple):
    """When a value was scraped, in seconds since 1970, and the value."""

    at: float
    value: float


class Found(NamedTuple):
    """The newest sample of a series, and its labels."""

    metric: dict[str, str]
    newest: Sample


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    histograms: list[tuple[float, NativeHistogram]] = []


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: list[_Series]


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] = []


class Prometheus:
    """One server, shared by all experiments that read from it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/")
        self._session = session
        self._monotonic = monotonic
        self._breaker = Breaker(PATIENCE)
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def ask(self, query: str, at: float) -> list[Found]:
        """Return the newest sample of each series that a range selector finds, as of `at`.

        SilentError if there is no answer, MalformedAnswerError if it cannot be understood.
        """
        if not self._breaker.allows(self._monotonic()):
            raise SilentError(_LEFT_ALONE)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), self._turns:
                if self._breaker.is_open:  # It was found to be away while this one waited.
                    raise SilentError(_LEFT_ALONE)
                status, body = await self._post(query, at)
        except (TimeoutError, aiohttp.ClientError, OSError) as silence:
            self._breaker.failed(self._monotonic())
            raise SilentError(f"does not answer: {_said(silence)}") from silence
        if status >= 500:  # noqa: PLR2004 - its fault, not ours.
            self._breaker.failed(self._monotonic())
        else:
            self._breaker.succeeded()
        return _parsed(status, body)

    async def _post(self, query: str, at: float) -> tuple[int, bytes]:
        # Dozens of pods make a query that is too long for a URL.
        question = {"query": query, "time": f"{at:.3f}", "timeout": f"{TIMEOUT_SECONDS:.0f}s"}
        async with self._session.post(
            f"{self.url}/api/v1/query",
            data=question,
            allow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(2**16):
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise MalformedAnswerError(
                        f"answers with more than {LARGEST_ANSWER // 2**20} MiB: "
                        "narrow it down with matchLabels"
                    )
            return answer.status, bytes(body)


class Prometheuses:
    """The servers that are in use, one for each URL."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._servers: WeakValueDictionary[str, Prometheus] = WeakValueDictionary()

    def at(self, url: str) -> Prometheus:
        """Return the server of a URL."""
        server = self._servers.get(url)
        if server is None:
            server = self._servers[url] = Prometheus(self._session, url)
        return server


def _said(silence: BaseException) -> str:
    return str(silence)[:_LONGEST_QUOTE] or type(silence).__name__


def _parsed(status: int, body: bytes) -> list[Found]:
    """Return what an answer of the query API holds."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        if status != 200:  # noqa: PLR2004 - the one status that brings samples.
            raise SilentError(f"answers HTTP {status}") from fault
        raise MalformedAnswerError("answers something that is not of its query API") from fault
    if status != 200 or answer.status != "success":  # noqa: PLR2004
        raise SilentError(f"answers HTTP {status}: {answer.error[:_LONGEST_QUOTE]}")
    if answer.warnings:
        # What is missing from a part of an answer would look as if it were no longer there.
        raise SilentError(f"answers in part: {answer.warnings[0][:_LONGEST_QUOTE]}")
    if answer.data is None or answer.data.result_type != "matrix":
        raise MalformedAnswerError("answers something else than samples")
    found = [each for each in answer.data.result if "__name__" in each.metric]
    try:
        plain = [
            Found(each.metric, Sample(at, float(value)))
            for each in found
            for at, value in each.values[-1:]
        ]
        return [*plain, *_classic(found, {each.metric["__name__"] for each in plain})]
    except CoarseError as coarse:
        raise MalformedAnswerError(
            f"has a native histogram with {coarse}: let the app keep more buckets"
        ) from coarse
    except ValueError as fault:
        raise MalformedAnswerError(f"answers a value that is no number: {fault}") from fault


def _classic(found: Iterable[_Series], plain: Container[str]) -> Iterator[Found]:
    """Yield native histograms as if they were classic, but for those that are there as such."""
    for each in found:
        name = f"{each.metric['__name__']}_bucket"
        for at, histogram in each.histograms[-1:]:
            if name not in plain:
                for le, count in cumulative(histogram):
                    yield Found({**each.metric, "__name__": name, "le": le}, Sample(at, count))
