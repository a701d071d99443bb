"""Reads that wait at the API for what comes next: each a call of its own, none in anybody's way."""

import asyncio
from collections.abc import Callable
from typing import Final

from shieldx.ledger.relay import NotSentError, UnknownOutcomeError
from shieldx.sidecar.relay.carriers import told
from shieldx.sidecar.relay.items import Item, Told
from shieldx.sidecar.relay.upstream import Upstream

# Longer than the API lets anybody wait.
CALL_SECONDS: Final = 35.0
MOST_WAITING: Final = 256


class Polls:
    """Passes long polls on; nothing is asked twice, since whoever polls asks again anyway."""

    def __init__(self, upstream: Upstream, away: Told, overloaded: Told) -> None:
        self._upstream = upstream
        self._away = away
        self._overloaded = overloaded
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, item: Item, done: Callable[[Told], None]) -> None:
        """Pass one on, or answer at once that it is one too many."""
        if len(self._tasks) >= MOST_WAITING:
            done(self._overloaded)
            return
        task = asyncio.create_task(self._poll(item, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Let nobody wait any more."""
        for task in self._tasks:
            task.cancel()

    async def _poll(self, item: Item, done: Callable[[Told], None]) -> None:
        answer = self._away
        try:
            answer = told(await self._upstream.call(item, CALL_SECONDS))
        except (NotSentError, UnknownOutcomeError):
            pass
        finally:
            done(answer)
