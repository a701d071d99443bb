"""The ledger API in this process, and a client that shows what it really sends and gets."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pytest

from shieldx.kube.cluster import Identity
from shieldx.kube.signing_keys import SigningKeys
from shieldx.kube.tokens import ReviewUnavailableError, TokenCache, TokenReviewer
from shieldx.sidecar.auth import Authenticator, NoTokens, ServiceAccounts
from shieldx.sidecar.config import Config
from shieldx.sidecar.limits import Limits
from shieldx.sidecar.main import Options, Process, serve
from shieldx.sidecar.server import Server

_keys = itertools.count(1)


def fresh_key() -> str:
    return f"key-{next(_keys)}"


@dataclass(frozen=True)
class Response:
    status: int
    fields: dict[str, str]
    payload: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.payload)

    @property
    def code(self) -> str:
        return str(self.body["code"])


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._port = port
        self._token = token

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        fields: dict[str, str] | None = None,
    ) -> bytes:
        payload = b"" if body is None else json.dumps(body).encode()
        lines = {"Host": "ledger", "Content-Length": str(len(payload)), **(fields or {})}
        if method != "GET":
            lines.setdefault("Idempotency-Key", key or fresh_key())
        if self._token is not None:
            lines["Authorization"] = f"Bearer {self._token}"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + payload

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        fields: dict[str, str] | None = None,
    ) -> Response:
        self.writer.write(self.request(method, path, body, key=key, fields=fields))
        return await self.response()

    async def response(self) -> Response:
        async with asyncio.timeout(60):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            pairs = (line.split(": ", 1) for line in lines)
            fields = {name.lower(): value for name, value in pairs}
            payload = await self.reader.readexactly(int(fields["content-length"]))
        return Response(int(first.split()[1]), fields, payload)

    async def get(self, path: str) -> Response:
        return await self.call("GET", path)

    async def post(self, path: str, body: object = None, key: str | None = None) -> Response:
        return await self.call("POST", path, {} if body is None else body, key=key)

    async def account(self, name: str, amount: int = 0) -> str:
        """Open an account with so many credits."""
        opened = await self.post("/v1/accounts", {"id": name})
        assert opened.status == 201, opened
        if amount:
            filled = await self.post(
                f"/v1/accounts/{quote(name, safe='')}/refill", {"amount": amount}
            )
            assert filled.status == 201, filled
        return name

    async def consume(self, name: str, amount: int, key: str | None = None) -> Response:
        path = f"/v1/accounts/{quote(name, safe='')}/consume"
        return await self.post(path, {"amount": amount}, key)

    async def balance(self, name: str) -> tuple[int, int, int]:
        """Return balance, held, available."""
        found = (await self.get(f"/v1/accounts/{quote(name, safe='')}/balance")).body
        return found["balance"], found["held"], found["available"]


@dataclass
class Reviewer:
    """Whose a token is: its own text, `namespace/name`."""

    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def review_token(self, token: str, audience: str) -> Identity | None:
        assert audience == "shieldx"
        self.asked.append(token)
        if self.away:
            raise ReviewUnavailableError("the API server is away")
        namespace, _, name = token.partition("/")
        return Identity(namespace, name) if name else None

    async def signing_keys(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Say that there are none: this cluster signs nothing."""
        raise ReviewUnavailableError("no keys")


class Service:
    """An API process of this test, on a real port and a real database."""

    def __init__(
        self,
        dsn: str,
        *,
        config: Config | None = None,
        limits: Limits | None = None,
        redis_url_file: Path | None = None,
    ) -> None:
        self.reviewer = Reviewer()
        self.config = config or Config(ledger="test/credits")
        self.accounts = ServiceAccounts(TokenCache(self.reviewer), self.config.policy())
        authenticator: Authenticator = self.accounts if config else NoTokens()
        self.process = Process(dsn, self.config, authenticator, redis_url_file)
        if limits is not None:
            self.process.server = Server(self.process.server.handle, limits)
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.process.start(asyncio.Event())
        self.port = await self.process.server.listen("127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.process.stop()

    def client(self, token: str | None = None) -> Client:
        return Client(self.port, token)


@asynccontextmanager
async def served(
    options: Options,
    reviewer: TokenReviewer,
    keys: SigningKeys,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[None]:
    """Serve as deployed, from when it says so; afterwards it must end in order."""
    stopped = asyncio.Event()
    serving = asyncio.create_task(serve(options, reviewer, keys, stopped))
    async with asyncio.timeout(60):
        while "ShieldX ledger on" not in capsys.readouterr().out:  # noqa: ASYNC110 - a text
            await asyncio.sleep(0.05)
    yield
    stopped.set()
    assert await serving == 0
