"""Balances that were read a moment ago, and how new a balance must at least be; pure.

A remembered balance is at most a second old, counted from when it was asked for. And it is never
older than a write that this relay has acknowledged: each answer of a write carries its accounts'
versions, and a balance of a lower version is neither kept nor shown, wherever it comes from.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

FRESH_SECONDS: Final = 1.0
CAPACITY: Final = 10_000


class _Versioned(msgspec.Struct):
    version: int


_VERSION: Final = msgspec.json.Decoder(_Versioned)


class Balances:
    """Remembers; the time is told by whoever asks."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._known: dict[str, tuple[float, int, bytes]] = {}
        self._floors: dict[str, tuple[float, int]] = {}
        # Of writes acknowledged until then it is not known any more which accounts they changed.
        self._forgotten_until = float("-inf")

    def known(self, account: str, now: float) -> bytes | None:
        """Return the account's balance as the API gave it, if it is fresh."""
        found = self._known.get(account)
        if found is None or now - found[0] > FRESH_SECONDS:
            return None
        return found[2]

    def read(self, account: str, payload: bytes, *, asked: float) -> bool:
        """Take in what the API told when `asked`; False if it is older than it must be."""
        version = _VERSION.decode(payload).version
        floor = self._floors.get(account)
        if (floor is None and asked <= self._forgotten_until) or (floor and version < floor[1]):
            return False
        known = self._known.pop(account, None)
        if known is not None and known[1] > version:
            self._known[account] = known
            return True
        self._known[account] = (asked, version, payload)
        _bound(self._known, self._capacity)
        return True

    def written(self, versions: Mapping[str, int], *, now: float) -> None:
        """Take in what an acknowledged write has left its accounts in."""
        for account, left in versions.items():
            version = left
            floor = self._floors.pop(account, None)
            if floor is not None:
                version = max(version, floor[1])
            self._floors[account] = (now, version)
            known = self._known.get(account)
            if known is not None and known[1] < version:
                del self._known[account]
        while len(self._floors) > self._capacity:
            dropped = self._floors.pop(next(iter(self._floors)))
            self._forgotten_until = dropped[0]


def _bound(known: dict[str, Any], capacity: int) -> None:
    while len(known) > capacity:
        del known[next(iter(known))]


class _Left(msgspec.Struct):
    id: str = ""
    version: int | None = None
    balances: dict[str, _Versioned] = {}
    results: list["_Left"] = []


_LEFT: Final = msgspec.json.Decoder(_Left)


def left_by(payload: bytes) -> dict[str, int]:
    """Return the versions that a write's answer tells: a transfer's, a batch's, an account's."""
    try:
        body = _LEFT.decode(payload)
    except msgspec.DecodeError:
        return {}  # No answer of a ledger's API looks so.
    versions: dict[str, int] = {}
    for one in (body, *body.results):
        if one.version is not None:
            versions[one.id] = one.version
        for account, figures in one.balances.items():
            versions[account] = max(figures.version, versions.get(account, 0))
    return versions
