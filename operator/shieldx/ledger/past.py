"""Verify `figures`: what accounts had after the batches that last changed them without a transfer.

Batches have no rows of their own; those of one time are looked at together. A row must be what some
entry of its time left, and what the last one left must be there, unless a transfer tells it.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from shieldx.ledger.retelling import Books, Row

type _Account = tuple[str, int]  # its id, and a version of it


class PastError(Exception):
    """The rows of `figures` are not those that follow from the chain."""


class Past:
    """Follows the chain entry by entry, and the rows in the order of their times."""

    def __init__(self, books: Books, rows: AsyncIterator[Any]) -> None:
        self._books = books
        self._rows = rows
        self._row: Mapping[str, Any] | None = None
        self._at = 0
        self._left: dict[_Account, tuple[int, int]] = {}
        self._moved: set[_Account] = set()
        self._last: dict[str, int] = {}
        self._note(books.accounts)

    async def follow(self, at: int, made: Sequence[Row]) -> None:
        """Take in what an entry of this time has done; PastError once a time does not fit."""
        if at != self._at:
            await self._compare()
            self._at = at
        for row in made:
            for side in ("debit", "credit"):
                self._moved.add((row[side], row[f"{side}_version"]))
        self._note(self._books.touched)

    async def finish(self) -> None:
        """Compare the last time, after which there must be no row."""
        await self._compare()
        if self._row is not None:
            raise PastError(f"{_name(self._row)}: no entry of the chain made it")

    def _note(self, names: Iterable[str]) -> None:
        for name in names:
            account = self._books.account(name)
            self._left[name, account["version"]] = (account["balance"], account["held"])
            self._last[name] = account["version"]

    async def _compare(self) -> None:
        found: set[_Account] = set()
        if self._row is None:
            self._row = await anext(self._rows, None)
        while (row := self._row) is not None and row["at"] == self._at:
            account = (row["account"], row["version"])
            if (row["balance"], row["held"]) != self._left.get(account):
                raise PastError(f"{_name(row)}: it is not what the chain left")
            found.add(account)
            self._row = await anext(self._rows, None)
        for account in self._last.items():
            if account not in found and account not in self._moved:
                raise PastError(
                    f"figures of {account[0]} at {self._at}: version {account[1]} is missing"
                )
        self._left, self._moved, self._last = {}, set(), {}


def _name(row: Mapping[str, Any]) -> str:
    return f"figures of {row['account']} at {row['at']}, version {row['version']}"
