"""What was, and what happened: accounts by prefix, past balances, the chain as events."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from shieldx.ledger import cursors
from shieldx.ledger.events import Event
from shieldx.ledger.reads import Reads, account_of, figures

_decode: Final = msgspec.json.decode


class History:
    """Reads that go back, or along; over the connections of `Reads`."""

    def __init__(self, reads: Reads, shard: str) -> None:
        self._reads = reads
        self._shard = shard

    async def accounts(
        self, prefixes: Sequence[str], state: str | None, cursor: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return accounts below any of the prefixes by id, and the cursor of the next page.

        No prefix may begin with another of them.
        """
        after = "" if cursor is None else cursors.read_text(cursor)
        found = await self._reads.fetch("list_accounts", list(prefixes), after, state, limit + 1)
        ids = [row["id"] for row in found[:limit]]
        rows = sorted(await self._reads.accounts(ids), key=lambda row: str(row["id"]))
        following = cursors.write(ids[-1]) if len(found) > limit else None
        return [account_of(row) for row in rows], following

    async def balance_at(self, account: str, at: int) -> dict[str, Any] | None:
        """Return what an account had at a past moment, settled; None before it was opened."""
        found = await self._figures_at(account, at)
        if found is None:
            return None
        if found["next_at"] is None:
            known = (await self._reads.settled(at, [account], past=True)).accounts[account]
            again = await self._figures_at(account, at)
            if known is not None and again is not None and again["next_at"] is None:
                return {"account": account, **asdict(known.figures()), "as_of": at}
            # It has changed while we looked, so what was due then has been done since.
            found = again or found
        done = await self._reads.fetch("done_by_time", account, found["next_at"])
        return {"account": account, **_settled(account, found, done, at), "as_of": at}

    async def _figures_at(self, account: str, at: int) -> dict[str, Any] | None:
        for row in await self._reads.fetch("balance_at", account, at):
            return row
        return None

    async def events(self, after: int, limit: int) -> list[Event]:
        """Return the entries after a position, oldest first."""
        rows = await self._reads.fetch("events", after, limit)
        return [Event.of(self._shard, row) for row in rows]

    async def position(self) -> int:
        """Return where the chain ends."""
        (row,) = await self._reads.fetch("position")
        return int(row["position"])


def _settled(
    account: str, found: Mapping[str, Any], done: Sequence[Mapping[str, Any]], at: int
) -> dict[str, int]:
    """Return an account's figures with what was due by then, though it was `done` only later."""
    settled = figures(found)
    for step in done:
        if step["due"] > at:
            break
        told = _decode(step["answer"]).get("balances", {}).get(account)
        settled = told or {**settled, "version": settled["version"] + 1}
    return settled
