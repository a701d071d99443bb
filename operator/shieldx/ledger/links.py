"""Verify the chain itself: that every entry is the next link, sealed with the ledger's keys.

What an entry means does not matter here, so this can be done beside the retelling, in another
process. Its canonical bytes need not be made: binary COPY sends a row's cells with their lengths
before them, which is what `chain` hashes.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from shieldx.ledger.cells import LENGTH
from shieldx.ledger.chain import GENESIS, VERSION
from shieldx.ledger.copies import TRAILER, Snapshot, copying
from shieldx.ledger.findings import Finding, Recorded
from shieldx.ledger.seals import KeyRing, SealError

# Only a tampered row has NULL where these have a value; its hash will not fit.
QUERY: Final = (
    "select coalesce(position, 0), coalesce(at, 0), coalesce(caller, ''), "
    "case when key is null then '\\x00'::bytea else '\\x01'::bytea || convert_to(key, 'UTF8') end, "
    "coalesce(operation, ''), coalesce(code, ''), coalesce(answer, ''), "
    "coalesce(hash, ''), receipt from entries order by position"
)
# How many cells with lengths of their own an entry has before its hash.
_CELLS: Final = 5
_HEAD: Final = struct.Struct(">hiqiq")
_VERSION: Final = bytes([VERSION])
_HASH_LENGTH: Final = LENGTH.pack(hashlib.sha256().digest_size)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known from outside of the database."""

    ring: KeyRing | None = None
    recorded: Recorded | None = None
    receipt: str | None = None


@dataclass(slots=True)
class Chained:
    """How far the chain is whole, how many receipts are genuine, and what ends it."""

    position: int = 0
    at: int = 0
    hash: bytes = GENESIS
    sealed: int = 0
    receipt_at: int | None = None
    finding: Finding | None = None


async def follow_links(snapshot: Snapshot, known: Known) -> Chained:
    """Follow the chain to its end, or to the first entry that does not fit."""
    chained = Chained()
    async with copying(snapshot, QUERY) as copy:
        while chained.finding is None and (chunk := await copy.chunk()):
            _follow(chunk, chained, known)
    recorded = known.recorded
    if chained.finding is None and recorded and chained.position < recorded.position:
        chained.finding = Finding(
            chained.position + 1,
            f"the chain ends at {chained.position}, but it has reached "
            f"{recorded.position}: its end is missing",
        )
    return chained


def _follow(chunk: bytes, chained: Chained, known: Known) -> None:  # noqa: C901 - one loop, on the hot path.
    """Take in the entries of a chunk, up to the first that does not fit."""
    head, length = _HEAD.unpack_from, LENGTH.unpack_from
    sha256, join = hashlib.sha256, b"".join
    recorded = known.recorded.position if known.recorded else 0
    seal = known.ring.seal if known.ring else None
    wanted = known.receipt.encode() if known.receipt else None
    position, at, digest = chained.position, chained.at, chained.hash
    place, end = 0, len(chunk) - TRAILER
    while place < end:
        # A row: a count, position and time with their lengths, and cells with theirs.
        cell = place + _HEAD.size
        for _ in range(_CELLS):
            cell += 4 + length(chunk, cell)[0]
        hashed = join((digest, _VERSION, chunk[place + 6 : place + 14], chunk[place + 18 : cell]))
        digest = sha256(hashed).digest()
        position += 1
        then = at
        _, _, said, _, at = head(chunk, place)
        (size,) = length(chunk, cell)
        (sealed,) = length(chunk, cell + 4 + size)
        place = cell + 8 + size + max(sealed, 0)
        problem = None
        if said != position:
            problem = f"entry {position} is missing: the next one is {said}"
        elif not chunk.startswith(_HASH_LENGTH + digest, cell):
            problem = (
                f"entry {position}: its hash is {chunk[cell + 4 : cell + 4 + size].hex()}, "
                f"its content and the entry before it give {digest.hex()}"
            )
        elif at < then:
            problem = f"entry {position}: it is older than the entry before it"
        elif position == recorded:
            problem = _recorded(position, digest, known)
        if problem is None and seal is not None:
            receipt = None if sealed < 0 else chunk[place - sealed : place]
            # Most are sealed with the key that seals now.
            if receipt != seal(digest).encode():
                problem = _receipt(position, digest, receipt, chained, known)
            if problem is None and receipt is not None:
                chained.sealed += 1
                if receipt == wanted:
                    chained.receipt_at = position
        if problem is not None:
            chained.finding = Finding(position, problem)
            return
        chained.position, chained.at, chained.hash = position, at, digest


def _recorded(position: int, digest: bytes, known: Known) -> str | None:
    if known.recorded is None or known.recorded.hash == digest:
        return None
    return f"entry {position}: hash is {digest.hex()!r}, must be {known.recorded.hash.hex()!r}"


def _receipt(
    position: int, digest: bytes, receipt: bytes | None, chained: Chained, known: Known
) -> str | None:
    where = f"entry {position}"
    if known.ring is None:
        return None
    if receipt is None:
        # The first ones may be from before this ledger had keys.
        return f"{where}: its receipt is missing" if chained.sealed else None
    try:
        genuine = known.ring.genuine(receipt.decode(errors="replace"), digest)
    except SealError as problem:
        return f"{where}: {problem}"
    return None if genuine else f"{where}: its receipt was not made with the ledger's key"
