"""The reconcile loop: one task per object, woken by events, never run twice at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, Protocol

logger = logging.getLogger(__name__)

FIRST_RETRY: Final = timedelta(seconds=1)
LAST_RETRY: Final = timedelta(minutes=1)

type Key = tuple[str, str | None, str]  # what kind of resource, its namespace and name
type Reconcile = Callable[[], Awaitable[timedelta]]
type Prepare = Callable[[], Awaitable[None]]


class Stopped(Protocol):
    def __bool__(self) -> bool: ...


class Bells:
    """One bell per object. Anyone may ring it; only the object's own loop listens."""

    def __init__(self) -> None:
        self._bells: dict[Key, asyncio.Event] = {}

    def ring(self, key: Key) -> None:
        """Ask for another look at `key`. Without a listener, its first pass will look anyway."""
        if bell := self._bells.get(key):
            bell.set()

    @contextmanager
    def listening(self, key: Key) -> Iterator[asyncio.Event]:
        """Lend the object's bell to its loop."""
        bell = self._bells[key] = asyncio.Event()
        try:
            yield bell
        finally:
            if self._bells.get(key) is bell:
                del self._bells[key]


class Locks:
    """One lock per object, shared by its loop and its deletion handler.

    kopf may run a deletion handler while the daemon is still ending.
    """

    def __init__(self) -> None:
        self._locks: dict[Key, asyncio.Lock] = {}

    def of(self, key: Key) -> asyncio.Lock:
        """Return the object's lock."""
        return self._locks.setdefault(key, asyncio.Lock())

    def forget(self, key: Key) -> None:
        """Drop the lock of an object that is gone."""
        self._locks.pop(key, None)


async def reconcile_forever(
    reconcile: Reconcile,
    *,
    stopped: Stopped,
    bell: asyncio.Event,
    lock: asyncio.Lock,
    work: asyncio.Semaphore,
    prepare: Prepare | None = None,
) -> None:
    """Reconcile until stopped: again on the bell, when the last pass asked, or after a failure.

    `lock` is the object's own; `work` bounds how many objects are reconciled at a time. `prepare`
    comes before each pass and is not bounded: it asks what may take long to answer, and whoever
    waits for that must hold up nobody.
    """
    retry = FIRST_RETRY
    while not stopped:
        bell.clear()
        try:
            if prepare is not None:
                await prepare()
            async with work, lock:
                if stopped:
                    return
                pause = await reconcile()
            retry = FIRST_RETRY
        except Exception:
            logger.exception("Reconciliation failed; again in %s", retry)
            pause, retry = retry, min(retry * 2, LAST_RETRY)
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await bell.wait()
        except TimeoutError:
            continue
