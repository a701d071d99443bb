"""The relay in this process, beside an API that is somewhere else."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from shieldx.sidecar.relay.front import Front
from shieldx.sidecar.relay.upstream import TokenFile, Upstream
from shieldx.sidecar.server import Server
from tests.support.api import Client, Response


class Relaying:
    """A relay on a port of its own, that shows the token in a file of `folder`."""

    def __init__(
        self, upstream: int, folder: Path, *, caller: str = "shop/app", deadline_seconds: float = 5
    ) -> None:
        self.token = folder / "token"
        self.token.write_text(caller)
        self.upstream = Upstream(f"http://127.0.0.1:{upstream}", TokenFile(self.token))
        self.front = Front(self.upstream, deadline_seconds=deadline_seconds)
        self.server = Server(self.front.handle)
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.upstream.start()
        await self.front.start()
        self.port = await self.server.listen("127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.server.close(10)
        await self.front.close()
        await self.upstream.close()

    def client(self) -> Client:
        return Client(self.port)

    @property
    def operations_a_call(self) -> float:
        """How many requests one batch has carried on average."""
        metrics = self.front.metrics
        return metrics.operations["together"] / metrics.calls["together"]

    async def together(self, *requests: bytes) -> list[Response]:
        """Send requests at once, each on a connection of its own, and return their answers."""
        clients = [self.client() for _ in requests]
        for client in clients:
            await client.__aenter__()
        try:
            for client, request in zip(clients, requests, strict=True):
                client.writer.write(request)
            return list(await asyncio.gather(*(client.response() for client in clients)))
        finally:
            for client in clients:
                client.writer.close()
