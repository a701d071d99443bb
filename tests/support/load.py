"""Clients that consume one credit after the other, and remember every answer by its key."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from tests.support.api import Client, fresh_key

UNAVAILABLE: Final = 503
# Whoever is told to come back later does not come back at once: thousands of keys would wait.
PAUSE_SECONDS: Final = 0.1


@dataclass
class Load:
    """So many clients on the port that `port` names, each request under a key of its own.

    A client that is told goodbye (`Connection: close`) leaves for good if `leave` is set, as a
    client does that has other servers to go to; otherwise it comes back.
    """

    port: Callable[[], int]
    account: str
    clients: int = 8
    leave: bool = False
    answers: dict[str, int] = field(default_factory=dict)
    moments: list[float] = field(default_factory=list)  # of the answers, monotonic
    unanswered: set[str] = field(default_factory=set)
    lost: int = 0  # connections that broke, or could not be made

    async def __aenter__(self) -> Self:
        self._stopped = False
        self._tasks = [asyncio.create_task(self._consume()) for _ in range(self.clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(self.answers.values())

    async def until(self, answers: int) -> None:
        """Wait until so many answers have come."""
        async with asyncio.timeout(60):
            while len(self.answers) < answers:  # noqa: ASYNC110 — a count, not an event
                await asyncio.sleep(0.01)

    async def _consume(self) -> None:
        while not self._stopped:
            try:
                async with Client(self.port()) as client:
                    await self._on_one_connection(client)
                if self.leave:
                    return
            except (OSError, asyncio.IncompleteReadError):
                self.lost += 1
                await asyncio.sleep(0.02)

    async def _on_one_connection(self, client: Client) -> None:
        while not self._stopped:
            key = fresh_key()
            client.writer.write(client.request("POST", path(self.account), {"amount": 1}, key=key))
            self.unanswered.add(key)
            response = await client.response()
            self.unanswered.discard(key)
            self.answers[key] = response.status
            self.moments.append(time.monotonic())
            if response.fields.get("connection") == "close":
                return
            if response.status == UNAVAILABLE:
                await asyncio.sleep(PAUSE_SECONDS)

    async def settle(self) -> None:
        """Ask again for every key that got no answer or was told to retry, until it is answered."""
        open_keys = [*self.unanswered, *(k for k, s in self.answers.items() if s == UNAVAILABLE)]
        async with asyncio.timeout(60):
            for key in open_keys:
                self.answers[key] = await self._settle_one(key)
        self.unanswered.clear()

    async def _settle_one(self, key: str) -> int:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, json.JSONDecodeError):
                async with Client(self.port()) as client:
                    response = await client.post(path(self.account), {"amount": 1}, key)
                    if response.status != UNAVAILABLE:
                        return response.status
            await asyncio.sleep(0.1)


def path(account: str) -> str:
    return f"/v1/accounts/{account}/consume"
