"""Many reads that come at once are one query.

While a query is in flight, what is asked for waits and forms the next one; so the more readers
there are, the fewer queries each of them costs, and nobody waits for longer than two of them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

logger = logging.getLogger(__name__)

MAX_KEYS: Final = 1000

type Answered[V] = Callable[[V | None, Exception | None], None]


class Coalescer[K, V]:
    """Looks keys up by `fetch`, which takes many at once and returns those that exist."""

    def __init__(self, fetch: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._fetch = fetch
        self._wanted: dict[K, list[Answered[V]]] = {}
        self._task: asyncio.Task[None] | None = None

    def look_up(self, key: K, answered: Answered[V]) -> None:
        """Call `answered(value or None, None)`, or with the error that the query met."""
        self._wanted.setdefault(key, []).append(answered)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._wanted:
                keys = list(self._wanted)[:MAX_KEYS]
                waiting = {key: self._wanted.pop(key) for key in keys}
                await self._round(waiting)
        finally:
            self._task = None

    async def _round(self, waiting: dict[K, list[Answered[V]]]) -> None:
        try:
            found = await self._fetch(list(waiting))
        except Exception as error:  # noqa: BLE001 — whoever asked decides what it means.
            for answers in waiting.values():
                _tell(answers, None, error)
            return
        for key, answers in waiting.items():
            _tell(answers, found.get(key), None)


def _tell[V](answers: Iterable[Answered[V]], value: V | None, error: Exception | None) -> None:
    """Tell all who asked; that one of them cannot use it harms none of the others."""
    for answered in answers:
        try:
            answered(value, error)
        except Exception:
            logger.exception("What was looked up could not be used")
