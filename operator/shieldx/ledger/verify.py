"""Verify a shard offline: re-derive the chain and everything that follows from it.

Reads one consistent snapshot, streaming. `links` follows the chain's hashes and receipts;
meanwhile `following` does again what the entries say was done, and compares what that leaves with
every cell of every table. The first thing that does not fit is named.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from shieldx.ledger.copies import Snapshot, exported
from shieldx.ledger.elsewhere import elsewhere
from shieldx.ledger.findings import Finding, MismatchError, Recorded, Report
from shieldx.ledger.following import Follower
from shieldx.ledger.links import Chained, Known, follow_links
from shieldx.ledger.seals import KeyRing
from shieldx.ledger.standing import compare_standing

__all__ = ["Recorded", "Report", "verify"]

# From here on a second process is worth its start.
LONG: Final = 20_000


async def verify(
    dsn: str,
    ring: KeyRing | None = None,
    recorded: Recorded | None = None,
    receipt: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    long: int = LONG,
) -> Report:
    """Return what was verified; ShardUnavailableError if there is no database to read.

    With a `ring` every receipt is checked too; with what was `recorded` elsewhere, that nothing
    was cut off the end. `progress` is told how many entries have been retold, and of how many.
    A chain of `long` entries is checked by two processes.
    """
    known = Known(ring, recorded, receipt)
    async with exported(dsn) as (snapshot, session):
        head = await session.fetchrow("select * from head where id = 0")
        if head is None:
            return Report(0, 0, 0, 0, 0, 0, "head: its row is missing")
        follower = Follower(snapshot, session, head["shard"])
        entries = head["position"]
        both = (
            asyncio.create_task(_links(snapshot, known, apart=entries >= long)),
            asyncio.create_task(
                follower.follow(lambda done: progress(done, entries) if progress else None)
            ),
        )
        try:
            chained, finding = await asyncio.gather(*both)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        problem = _first(chained.finding, finding)
        if problem is None:
            try:
                await compare_standing(snapshot, session, head, chained, follower.books)
            except MismatchError as mismatch:
                problem = str(mismatch)
    books = follower.books
    return Report(
        chained.position,
        books.transfers,
        len(books.accounts),
        len(books.holds),
        len(books.lots),
        chained.sealed,
        problem,
        Recorded(chained.position, chained.hash),
        chained.receipt_at,
    )


async def _links(snapshot: Snapshot, known: Known, *, apart: bool) -> Chained:
    if apart:
        return await elsewhere(follow_links, snapshot, known)
    return await follow_links(snapshot, known)


def _first(*findings: Finding | None) -> str | None:
    """Return the problem at the first entry; of two at one, the first of them."""
    there = [finding for finding in findings if finding is not None]
    return min(there, key=lambda finding: finding.position).problem if there else None
