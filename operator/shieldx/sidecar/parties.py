"""Whose accounts a hold or a transfer concerns: remembered, since that never changes."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from shieldx.sidecar.coalesce import Coalescer

CAPACITY: Final = 20_000

type Known = dict[str, tuple[str, ...]]


class Parties:
    """Finds the accounts of holds and transfers by their ids, debit side first."""

    def __init__(self, fetch: Callable[[str], Awaitable[tuple[str, ...]]]) -> None:
        self._fetch_one = fetch
        self._known: Known = {}
        self._unknown = Coalescer(self._fetch)

    def remember(self, identity: str, accounts: tuple[str, ...]) -> None:
        """Keep what an answer has told; the oldest knowledge makes room."""
        if len(self._known) >= CAPACITY:
            del self._known[next(iter(self._known))]
        self._known[identity] = accounts

    def find(self, wanted: Iterable[str], found: Callable[[Known, Exception | None], None]) -> None:
        """Call `found` with the accounts of all that exist, at once if they are known."""
        ids = set(wanted)
        accounts = {identity: self._known[identity] for identity in ids if identity in self._known}
        missing = ids - accounts.keys()
        if not missing:
            found(accounts, None)
            return
        waiting = len(missing)
        failure: Exception | None = None

        def one(identity: str, parties: tuple[str, ...] | None, error: Exception | None) -> None:
            nonlocal waiting, failure
            waiting -= 1
            failure = failure or error
            if parties:
                self.remember(identity, parties)
                accounts[identity] = parties
            if waiting == 0:
                found(accounts, failure)

        for identity in missing:
            self._unknown.look_up(identity, partial(one, identity))

    async def _fetch(self, ids: list[str]) -> Known:
        return {identity: await self._fetch_one(identity) for identity in ids}
