"""Verify what entries did: retell them, and hold answers, transfers and figures against that.

Whether an entry is the chain's next link is `links`' question; if it is not, what is found here
behind it means nothing.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import msgspec

from shieldx.ledger.cells import LENGTH, difference, split
from shieldx.ledger.copies import TRAILER, Copy, Snapshot, copying
from shieldx.ledger.findings import Finding
from shieldx.ledger.past import QUERY as FIGURES
from shieldx.ledger.past import Moment, Past, PastError
from shieldx.ledger.retelling import Books
from shieldx.ledger.statements import Activate, Reverse, Said, read_answer, read_statement
from shieldx.ledger.told import TRANSFER, Original, UntoldError

# Only a tampered row has NULL anywhere, and its hash tells.
ENTRIES: Final = (
    "select coalesce(position, 0), coalesce(at, 0), coalesce(code, ''), coalesce(operation, ''), "
    "coalesce(answer, '') from entries order by position"
)
TRANSFERS: Final = f"select {', '.join(TRANSFER)} from transfers order by seq"  # noqa: S608 - ours.
ORIGINALS: Final = "select seq, debit, credit, amount, burnt from transfers where seq = any($1)"
CREATED: Final = "created"
# The one statement of which a refusal changes something.
_ACTIVATE: Final = b'"type":"activate"'
_LONGEST_NUMBER: Final = 18  # what always fits into a bigint
_HEAD: Final = struct.Struct(">hiqiqi")

type _Entry = tuple[int, int, str, Said, bytes]  # its position, time, code, statement, answer


@dataclass(slots=True)
class _Chapter:
    """What the entries of a chunk must have left in the database, and what ends them."""

    moments: list[Moment] = field(default_factory=list)
    finding: Finding | None = None


class Follower:
    """Follows the entries of a snapshot, and leaves the books as they must be at the end."""

    def __init__(self, snapshot: Snapshot, lookup: asyncpg.Connection, shard: str) -> None:
        self.books = Books(shard)
        self.position = 0
        self._at = 0
        self._snapshot = snapshot
        self._lookup = lookup
        self._prefix = f"tx_{shard}_"

    async def follow(self, progress: Callable[[int], None]) -> Finding | None:
        """Return the first thing that does not fit; tell how far it is from time to time."""
        async with AsyncExitStack() as stack:
            entries, transfers, figures = [
                await stack.enter_async_context(copying(self._snapshot, query))
                for query in (ENTRIES, TRANSFERS, FIGURES)
            ]
            stored, past = Stored(transfers), Past(figures)
            while chunk := await entries.chunk():
                if finding := await self._follow(chunk, stored, past):
                    return finding
                progress(self.position)
            return await self._finish(stored, past)

    async def _follow(self, chunk: bytes, stored: "Stored", past: Past) -> Finding | None:
        chapter = _Chapter()
        entries = _read(chunk, chapter)
        self._retell(entries, await self._originals(entries), chapter)
        finding = await stored.compare(self.books.made) or chapter.finding
        self.books.made.clear()
        for moment in chapter.moments:
            if finding is None or moment.position < finding.position:
                finding = await _at_moment(past, moment) or finding
        return finding

    async def _finish(self, stored: "Stored", past: Past) -> Finding | None:
        finding = await _at_moment(past, self._moment())
        try:
            await past.finish()
        except PastError as problem:
            finding = finding or Finding(self.position, str(problem))
        return finding or await stored.finish(self.position)

    def _retell(
        self, entries: Sequence[_Entry], originals: Mapping[str, Original], chapter: _Chapter
    ) -> None:
        books = self.books
        for position, at, code, said, answer in entries:
            if at != self._at:
                if books.left:
                    chapter.moments.append(self._moment())
                self._at = at
            self.position = position
            problem = None
            try:
                if code == CREATED:
                    before = books.transfers
                    books.retell(position, at, said, originals)
                    problem = books.contradiction(read_answer(answer), before)
                elif type(said) is Activate:
                    books.give_up(position, at, said)
            except (UntoldError, msgspec.MsgspecError, struct.error) as untold:
                problem = str(untold)
            if problem is not None:
                chapter.finding = Finding(position, f"entry {position}: {problem}")
                return

    def _moment(self) -> Moment:
        """Return what the entries of one time left, now that it is over."""
        books = self.books
        left = {(name, version): (balance, held) for name, version, balance, held in books.left}
        last = {name: version for name, version, *_ in books.left}
        books.left.clear()
        still = {pair for pair in last.items() if books.accounts[pair[0]].version == pair[1]}
        return Moment(self._at, self.position, left, still)

    async def _originals(self, entries: Sequence[_Entry]) -> dict[str, Original]:
        """Look up what a chunk reverses; every transfer is compared in its turn."""
        numbers = {
            entry[3].transfer: int(number)
            for entry in entries
            if type(entry[3]) is Reverse
            and (number := entry[3].transfer.removeprefix(self._prefix)).isdecimal()
            and number.isascii()
            and len(number) <= _LONGEST_NUMBER
        }
        if not numbers:
            return {}
        rows = await self._lookup.fetch(ORIGINALS, list(numbers.values()))
        found = {row["seq"]: _original(row) for row in rows}
        return {name: found[seq] for name, seq in numbers.items() if seq in found}


def _original(row: asyncpg.Record) -> Original:
    burnt = [] if row["burnt"] is None else msgspec.json.decode(row["burnt"])
    return Original(row["seq"], row["debit"], row["credit"], row["amount"], burnt)


def _read(chunk: bytes, chapter: _Chapter) -> list[_Entry]:
    """Return a chunk's entries that matter: refusals change nothing, but for one kind."""
    entries: list[_Entry] = []
    place, end = 0, len(chunk) - TRAILER
    length, head = LENGTH.unpack_from, _HEAD.unpack_from
    position = 0
    try:
        while place < end:
            _, _, position, _, at, size = head(chunk, place)
            place += _HEAD.size + size
            code = chunk[place - size : place].decode()
            (size,) = length(chunk, place)
            place += 4 + size
            operation = chunk[place - size : place]
            (size,) = length(chunk, place)
            place += 4 + size
            if code == CREATED or _ACTIVATE in operation:
                answer = chunk[place - size : place]
                entries.append((position, at, code, read_statement(operation), answer))
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        chapter.finding = Finding(position, f"entry {position}: {problem}")
    return entries


class Stored:
    """Rows of transfers in their order, compared with what they must be."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._chunk = b""
        self._place = 0

    async def compare(self, rows: Sequence[bytes]) -> Finding | None:
        """Compare the next rows with these."""
        done = 0
        while done < len(rows):
            if not await self._more():
                return _missing(rows[done])
            chunk, place, end = self._chunk, self._place, len(self._chunk) - TRAILER
            for row in rows[done:]:
                if place >= end:
                    break
                if chunk.startswith(row, place):
                    place += len(row)
                elif (finding := _difference(chunk, place, row)) is not None:
                    return finding
                else:
                    place = split(chunk, place)[1]
                done += 1
            self._place = place
        return None

    async def finish(self, position: int) -> Finding | None:
        """Find that there are no more rows."""
        if not await self._more():
            return None
        cells, _ = split(self._chunk, self._place)
        seq = int.from_bytes(cells[0] or b"", signed=True)
        return Finding(position, f"transfer {seq}: no entry of the chain made it")

    async def _more(self) -> bool:
        while self._place >= len(self._chunk) - TRAILER:
            self._chunk, self._place = await self._copy.chunk(), 0
            if not self._chunk:
                return False
        return True


def _missing(row: bytes) -> Finding:
    seq, position = (int.from_bytes(cell or b"") for cell in split(row)[0][:2])
    return Finding(position, f"entry {position}: its transfer {seq} is missing")


def _difference(chunk: bytes, place: int, row: bytes) -> Finding | None:
    stored, must = split(chunk, place)[0], split(row)[0]
    if stored[0] != must[0]:
        return _missing(row)
    seq, position = (int.from_bytes(cell or b"") for cell in must[:2])
    different = difference(TRANSFER, stored, must)
    if different is None:
        return None
    return Finding(position, f"transfer {seq} (entry {position}): {different}")


async def _at_moment(past: Past, moment: Moment) -> Finding | None:
    try:
        await past.compare(moment)
    except PastError as problem:
        return Finding(moment.position, str(problem))
    return None
