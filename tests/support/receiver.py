"""A webhook's other end: a real little HTTP server that checks signatures and keeps what it got."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@dataclass
class Receiver:
    """Answers as `answer` says, 204 by default."""

    secret: str = SECRET
    answer: Callable[[list[dict[str, Any]]], Awaitable[int]] | None = None
    pages: list[list[dict[str, Any]]] = field(default_factory=list)
    accepted: list[list[dict[str, Any]]] = field(default_factory=list)
    forged: int = 0
    url: str = ""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/hook", self._receive)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/hook?token=hush"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def first_told(self) -> list[str]:
        """Return the ids of the events in the order in which each came first."""
        return list(dict.fromkeys(event["id"] for page in self.pages for event in page))

    async def until(self, count: int, seconds: float = 60) -> None:
        """Wait until so many different events have been accepted."""
        async with asyncio.timeout(seconds):
            while len({e["id"] for page in self.accepted for e in page}) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert request.content_type == "application/cloudevents-batch+json"
        identity, moment = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        digest = hmac.new(key, f"{identity}.{moment}.".encode() + body, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        if expected not in request.headers["webhook-signature"].split():
            self.forged += 1
            return web.Response(status=401)
        page: list[dict[str, Any]] = json.loads(body)
        self.pages.append(page)
        status = 204 if self.answer is None else await self.answer(page)
        if status == 204:
            self.accepted.append(page)
        location = {"Location": self.url} if status == 302 else {}
        return web.Response(status=status, headers=location)
