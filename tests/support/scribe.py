"""Explains a chain by the core: which requests in which order led to it, byte for byte.

Several processes decide at once, so nobody outside knows the order: it stands in the chain. What
the core would have written in that order must be what is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shieldx.ledger.model import Answer, Changes, Entry, Request
from shieldx.ledger.operations import Settle, canonical, canonical_batch
from tests.support.book import SYSTEM, Book

type Row = Mapping[str, Any]
type Figures = dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Explained:
    """A request that the chain has: its text, its answers, and its last entry's position."""

    text: bytes
    answers: list[Answer]
    position: int


class Scribe:
    """Holds the shard as the core says it is after the entries so far."""

    def __init__(self, now: int) -> None:
        self.book = Book()
        self.clock = now
        self.by_key: dict[tuple[str, str], Explained] = {}
        # How every account stood after each position, what was due by then being done.
        self.seen: dict[int, Figures] = {0: self._figures()}
        self._asked: dict[tuple[str, str], list[Request]] = {}

    def heard(self, request: Request) -> None:
        """Note that this was asked for, by whatever process."""
        for single in singles(request):
            (key,) = single.keys
            assert key is not None
            self._asked.setdefault((request.caller, key), []).append(single)

    @property
    def position(self) -> int:
        return self.book.state.head.position

    def explain(self, rows: Sequence[Row]) -> None:
        """Explain the entries that have come since the last time."""
        while rows:
            rows = rows[self._explain_first(rows) :]
        self.book.now = max(self.clock, self.book.state.head.at)
        self.seen[self.position] = self._figures()

    def _explain_first(self, rows: Sequence[Row]) -> int:
        self.book.now = rows[0]["at"]
        tried = []
        for request in self._candidates(rows):
            answers, changes = self.book.decided(request)
            number = len(changes.entries)
            tried.append((request, changes.entries))
            if number and [_facts(e) for e in changes.entries] == [_row(r) for r in rows[:number]]:
                self._accept(request, answers, changes)
                return number
        raise AssertionError(f"no request explains {[dict(r) for r in rows[:4]]}: {tried}")

    def _candidates(self, rows: Sequence[Row]) -> Iterator[Request]:
        keyed = next((row for row in rows if row["key"] is not None), None)
        if keyed is not None:
            yield from self._asked.get((keyed["caller"], keyed["key"]), ())
        first = msgspec.json.decode(rows[0]["operation"])
        state = self.book.state
        hold = state.holds[first["hold"]] if first["type"] == "expire" else None
        due = hold or (state.lots[first["grant"]] if "grant" in first else None)
        if due is not None:
            yield Request("system", (Settle(account=due.account),), (None,))

    def _accept(self, request: Request, answers: list[Answer], changes: Changes) -> None:
        self.book.accept(changes)
        (key,) = request.keys
        if key is not None:
            explained = Explained(text(request), answers, self.position)
            self.by_key[request.caller, key] = explained
        self.book.now = max(self.clock, self.book.now)
        self.seen[self.position] = self._figures()

    def _figures(self) -> Figures:
        accounts, _ = self.book.settled()
        return {
            name: (account.balance, account.held, account.available)
            for name, account in accounts.items()
            if name not in SYSTEM
        }


def singles(request: Request) -> list[Request]:
    """Return a plain request as requests of one key; an atomic one has one already."""
    if request.atomic:
        return [request]
    return [
        Request(request.caller, (operation,), (key,))
        for operation, key in zip(request.operations, request.keys, strict=True)
    ]


def text(request: Request) -> bytes:
    """Return the bytes that the request's key is bound to."""
    texts = [canonical(operation) for operation in request.operations]
    return canonical_batch(texts) if request.atomic else texts[0]


def _facts(entry: Entry) -> tuple[object, ...]:
    return (
        entry.position,
        entry.caller,
        entry.key,
        entry.operation,
        entry.code,
        entry.answer,
        entry.hash,
    )


def _row(row: Row) -> tuple[object, ...]:
    names = ("position", "caller", "key", "operation", "code", "answer", "hash")
    return tuple(row[name] for name in names)
