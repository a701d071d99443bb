"""`GET /v1/events`: the chain in order, from any place on, and a wait for what comes next.

Whoever waits costs one entry in a list. While somebody does, one look at the end of the chain every
fifth of a second serves them all (this process may not be the one that writes), and readers who
are equally far share one query.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Protocol

from shieldx.ledger import cursors
from shieldx.ledger.events import SOURCE_PREFIX, Event
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.coalesce import Coalescer
from shieldx.sidecar.decoding import ShapeError
from shieldx.sidecar.query import limit_of
from shieldx.sidecar.reads import Body, Read, RefusedReadError
from shieldx.sidecar.rights import Refusal, visible

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.2
MOST_WAIT_SECONDS: Final = 30
MOST_WAITING: Final = 1000
SCAN: Final = 1000
# One call looks at so many entries at most; the cursor says how far it got.
MOST_SCANNED: Final = 20 * SCAN


class Source(Protocol):
    """What the ledger can be asked."""

    async def events(self, after: int, limit: int) -> list[Event]: ...
    async def position(self) -> int: ...


class Feed:
    """Serves the events of one ledger to any number of readers."""

    def __init__(self, source: Source, ledger: str) -> None:
        self.waiting = 0
        self._source = source
        self._name = f"{SOURCE_PREFIX}{ledger}"
        self._pages = Coalescer(self._fetch)
        self._end = 0
        self._moved = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    def reads(self) -> dict[str, Read]:
        """Return what serves which call."""
        return {"list_events": self._events}

    def close(self) -> None:
        """Let nobody wait any more: the process is about to stop."""
        self._closed = True
        self._wake()

    async def _events(self, caller: Caller, _: str, query: dict[str, str]) -> Body:
        limit, wait, refusals = limit_of(query), _wait_of(query), _refusals_of(query)
        place = cursors.read_number(query["cursor"]) if "cursor" in query else 0
        if place > 0 and place > await self._source.position():
            message = "lies beyond the end of this ledger (was it restored?): begin without one"
            raise ShapeError("cursor", message)
        until = asyncio.get_running_loop().time() + wait
        while True:
            items, place = await self._scan(caller, place, limit, refusals=refusals)
            if items or not await self._more(place, until):
                return {"items": items, "next": cursors.write(place)}

    async def _scan(
        self, caller: Caller, place: int, limit: int, *, refusals: bool
    ) -> tuple[list[dict[str, object]], int]:
        """Return events after a place that this caller may see, and the place after them."""
        items: list[dict[str, object]] = []
        end = place + MOST_SCANNED
        while place < end:
            found = await self._page(place)
            for event in found:
                if len(items) == limit:
                    return items, place
                place = event.position
                if (event.happened or (refusals and event.refused)) and sees(caller, event):
                    items.append(event.cloud_event(self._name, visible(caller, event.answer)))
            if len(found) < SCAN:
                break
        return items, place

    async def _more(self, place: int, until: float) -> bool:
        """Wait until there may be an event after a place; False when the time is up."""
        if self._closed or asyncio.get_running_loop().time() >= until:
            return False
        if self.waiting >= MOST_WAITING:
            message = f"{MOST_WAITING} readers wait for events already; ask without wait."
            raise RefusedReadError(Refusal("overloaded", message))
        self.waiting += 1
        try:
            async with asyncio.timeout_at(until):
                while self._end <= place and not self._closed:
                    if self._looking is None:
                        self._looking = asyncio.create_task(self._look())
                    await self._moved.wait()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return not self._closed

    async def _look(self) -> None:
        """Look at the end of the chain while somebody waits."""
        try:
            while self.waiting and not self._closed:
                try:
                    end = await self._source.position()
                except ShardUnavailableError as error:
                    logger.warning("The end of the chain cannot be read: %s", error)
                else:
                    if end != self._end:
                        self._end = end
                        self._wake()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._looking = None
            self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _page(self, place: int) -> list[Event]:
        answered: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()

        def given(found: list[Event] | None, error: Exception | None) -> None:
            if answered.cancelled():
                return
            if error is not None:
                answered.set_exception(error)
            else:
                answered.set_result(found or [])

        self._pages.look_up(place, given)
        return await answered

    async def _fetch(self, places: list[int]) -> Mapping[int, list[Event]]:
        return {place: await self._source.events(place, SCAN) for place in places}


def sees(caller: Caller, event: Event) -> bool:
    """Whether an event exists for a caller, as its transfer or hold does.

    One that is about no account is for callers who see all of them.
    """
    return caller.sees_any(event.accounts())


def _wait_of(query: dict[str, str]) -> int:
    text = query.get("wait", "0")
    if not (text.isascii() and text.isdigit()) or int(text[:9]) > MOST_WAIT_SECONDS:
        raise ShapeError("wait", f"is not a number of seconds from 0 to {MOST_WAIT_SECONDS}")
    return int(text)


def _refusals_of(query: dict[str, str]) -> bool:
    if query.get("include", "refusals") != "refusals":
        raise ShapeError("include", "can only be refusals")
    return "include" in query
