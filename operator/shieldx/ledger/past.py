"""Verify `figures`: what accounts had after the batches that last changed them without a transfer.

Batches have no rows of their own; those of one time are looked at together. A row must be what some
entry of its time left, and what the last one left must be there, unless a transfer tells it.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from shieldx.ledger.copies import TRAILER, Copy

# Only a tampered row has NULL anywhere; it must not read like a right one.
_NO: Final = "(-9223372036854775808)::bigint"
QUERY: Final = (
    f"select coalesce(at, {_NO}), coalesce(version, {_NO}), coalesce(balance, {_NO}), "  # noqa: S608 - ours.
    f"coalesce(held, {_NO}), coalesce(account, '') from figures order by at, account, version"
)
_FOUR: Final = struct.Struct(">hiqiqiqiqi")


class PastError(Exception):
    """The rows of `figures` are not those that follow from the chain."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the entries of one time left, by account and version; `last` of it must be stored."""

    at: int
    position: int
    left: dict[tuple[str, int], tuple[int, int]]
    last: set[tuple[str, int]]


class _Figures(NamedTuple):
    at: int
    version: int
    balance: int
    held: int
    account: str

    def __str__(self) -> str:
        return f"figures of {self.account} at {self.at}, version {self.version}"


class Past:
    """Reads the rows in the order of their times."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._rows: list[_Figures] = []
        self._ended = False

    async def compare(self, moment: Moment) -> None:
        """Compare the rows of the next time at which there must be some."""
        missing = set(moment.last)
        while (row := await self._next()) is not None and row.at <= moment.at:
            self._rows.pop()
            if row.at < moment.at:
                raise PastError(f"{row}: no entry of the chain made it")
            account = (row.account, row.version)
            if moment.left.get(account) != (row.balance, row.held):
                raise PastError(f"{row}: it is not what the chain left")
            missing.discard(account)
        for name, version in sorted(missing):
            raise PastError(f"figures of {name} at {moment.at}: version {version} is missing")

    async def finish(self) -> None:
        """Find that there are no more rows."""
        if (row := await self._next()) is not None:
            raise PastError(f"{row}: no entry of the chain made it")

    async def _next(self) -> _Figures | None:
        while not self._rows and not self._ended:
            chunk = await self._copy.chunk()
            self._ended = not chunk
            self._rows = _read(chunk)[::-1]
        return self._rows[-1] if self._rows else None


def _read(chunk: bytes) -> list[_Figures]:
    rows = []
    place, end = 0, len(chunk) - TRAILER
    while place < end:
        _, _, at, _, version, _, balance, _, held, size = _FOUR.unpack_from(chunk, place)
        place += _FOUR.size
        name = chunk[place : place + size].decode()
        rows.append(_Figures(at, version, balance, held, name))
        place += size
    return rows
