"""The ledger's API as the relay calls it: with the pod's own token, and with an eye on its absence.

`away` says that for a while no call was answered at all. New requests are then refused at once
instead of kept waiting, and a probe goes on asking until there is an answer: a circuit breaker
whose half-open state is one cheap question.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Final
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shieldx.ledger.relay import NotSentError, UnknownOutcomeError
from shieldx.sidecar.relay.items import Item

logger = logging.getLogger(__name__)

# An API pod that says nothing for so long is asked again, by the same keys and perhaps another pod.
ATTEMPT_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 1.0
AWAY_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 0.25
TOKEN_SECONDS: Final = 1.0
UNAUTHENTICATED: Final = 401
# What concerns one connection only, or is written anew for the app's.
HOP: Final = frozenset(
    (b"cache-control", b"connection", b"content-length", b"content-type", b"date", b"keep-alive")
)
# Bytes that no path or query has are sent encoded: the API then says that they are wrong.
AS_IT_CAME: Final = "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API; `fields` are whole header lines."""

    status: int
    payload: bytes
    content_type: bytes
    fields: bytes
    replayed: frozenset[int] = frozenset()


class TokenFile:
    """The pod's token, read anew all the time, since the kubelet replaces it."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._text = ""
        self._read_at = float("-inf")

    def bearer(self) -> str:
        """Return the value of an Authorization header; NotSentError if there is no token."""
        now = self._monotonic()
        if now - self._read_at >= TOKEN_SECONDS:
            self._text, self._read_at = self._read(), now
        return f"Bearer {self._text}"

    def replaced(self) -> bool:
        """Whether the file holds another token than the one that was shown last."""
        shown, self._text, self._read_at = self._text, self._read(), self._monotonic()
        return shown != self._text

    def _read(self) -> str:
        try:
            text = self._path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotSentError(f"the token in {self._path} cannot be read: {error}") from error
        if not text.isprintable() or not text:
            raise NotSentError(f"there is no token in {self._path}")
        return text


class Upstream:
    """Calls the API; NotSentError, UnknownOutcomeError."""

    def __init__(
        self, url: str, token: TokenFile, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._monotonic = monotonic
        self._silent_since: float | None = None
        self._problem: Exception | None = None
        self._session: aiohttp.ClientSession | None = None
        self._probing: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether nobody has answered for a while."""
        since = self._silent_since
        return since is not None and self._monotonic() - since > AWAY_SECONDS

    async def start(self) -> None:
        """Begin to look after the API's presence."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=5),
            trace_configs=[_noticing()],
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        )
        self._probing = asyncio.create_task(self._probe())

    async def close(self) -> None:
        """End."""
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
        if self._session is not None:
            await self._session.close()

    async def call(
        self, item: Item, seconds: float = ATTEMPT_SECONDS, *, inside: Sequence[Item] = ()
    ) -> Reply:
        """Send one request and return its answer, with the token that the file holds now.

        As soon as there is a connection for it, it counts as sent, and so does what is `inside`.
        """
        reply = await self._call(item, seconds, inside)
        if reply.status == UNAUTHENTICATED and self._token.replaced():
            reply = await self._call(item, seconds, inside)
        return reply

    async def _call(self, item: Item, seconds: float, inside: Sequence[Item] = ()) -> Reply:
        if self._session is None:
            raise NotSentError("the relay has not started")
        try:
            fields = CIMultiDict({"Authorization": self._token.bearer()})
        except NotSentError as problem:
            self._silent(problem)
            raise
        for key in (item.key or b"").split(b"\0") if item.key is not None else ():
            fields.add("Idempotency-Key", key.decode("latin-1"))
        if item.body:
            fields["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                item.method,
                self._address(item),
                data=item.body or None,
                headers=fields,
                allow_redirects=False,
                trace_request_ctx=[item, *inside],
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS),
            ) as answer:
                reply = _reply(answer, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            self._silent(problem)
            if item.sent:
                raise UnknownOutcomeError(repr(problem)) from problem
            raise NotSentError(repr(problem)) from problem
        self._heard()
        return reply

    def _address(self, item: Item) -> URL:
        query = f"?{quote(item.query, safe=AS_IT_CAME)}" if item.query else ""
        return URL(f"{self._url}{quote(item.target, safe=AS_IT_CAME)}{query}", encoded=True)

    def _silent(self, problem: Exception) -> None:
        self._problem = problem
        if self._silent_since is None:
            self._silent_since = self._monotonic()

    def _heard(self) -> None:
        if self.away:
            logger.info("The ledger's API answers again")
        self._silent_since = None

    async def _probe(self) -> None:
        """After a call without an answer, ask until there is one; of any kind will do."""
        told = False
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            if self._silent_since is None:
                told = False
                continue
            if self.away and not told:
                logger.warning(
                    "The ledger's API at %s does not answer: %r", self._url, self._problem
                )
                told = True
            with contextlib.suppress(NotSentError, UnknownOutcomeError):
                await self._call(Item("GET", b"/health", b"", None, b""), ATTEMPT_SECONDS)


def _noticing() -> aiohttp.TraceConfig:
    """Notice when a request gets its connection: from then on it may have been sent."""

    async def connected(_: object, context: SimpleNamespace, __: object) -> None:
        for item in context.trace_request_ctx:
            item.sent = True

    noticing = aiohttp.TraceConfig()
    noticing.on_connection_create_end.append(connected)
    noticing.on_connection_reuseconn.append(connected)
    return noticing


def _reply(answer: aiohttp.ClientResponse, payload: bytes) -> Reply:
    lines = [
        b"%b: %b\r\n" % (name.lower(), value)
        for name, value in answer.raw_headers
        if name.lower() not in HOP
    ]
    content_type = answer.headers.get("Content-Type", "application/json")
    return Reply(
        answer.status,
        payload,
        content_type.encode("latin-1"),
        b"".join(lines),
        _replayed(answer.headers.get("Idempotency-Replayed-Operations", "")),
    )


def _replayed(indexes: str) -> frozenset[int]:
    return frozenset(int(one) for one in indexes.split(",") if one)
