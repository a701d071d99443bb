"""Reads that go along the accounts or back in time: lists by prefix, a balance at a moment."""

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from shieldx.ledger.times import timed
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.decoding import ShapeError
from shieldx.sidecar.query import limit_of, moment
from shieldx.sidecar.reads import Body, Page, Read, RefusedReadError, page
from shieldx.sidecar.rights import hidden_account

ACCOUNT_STATES: Final = ("open", "frozen", "closed")
PREFIX: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._:@/-]{0,127})?")
MICROSECONDS: Final = 1_000_000


class Source(Protocol):
    """What the ledger can be asked."""

    async def accounts(
        self, prefixes: list[str], state: str | None, cursor: str | None, limit: int
    ) -> Page: ...
    async def balance_at(self, account: str, at: int) -> Mapping[str, Any] | None: ...


class Listing:
    """Answers what is asked about many accounts, or about earlier."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def reads(self) -> dict[str, Read]:
        """Return what serves which call."""
        return {"list_accounts": self._accounts, "get_balance": self._balance_at}

    async def _accounts(self, caller: Caller, _: str, query: dict[str, str]) -> Body:
        prefix, state = query.get("prefix", ""), query.get("state")
        if not PREFIX.fullmatch(prefix):
            raise ShapeError("prefix", "is not the beginning of an account id")
        if state is not None and state not in ACCOUNT_STATES:
            raise ShapeError("state", f"is not one of {', '.join(ACCOUNT_STATES)}")
        prefixes = narrowed(prefix, caller.prefixes)
        cursor, limit = query.get("cursor"), limit_of(query)
        return page(await self._source.accounts(prefixes, state, cursor, limit))

    async def _balance_at(self, caller: Caller, account: str, query: dict[str, str]) -> Body:
        at = moment(query, "at")
        if at is None or at > time.time() * MICROSECONDS:
            raise ShapeError("at", "lies in the future")
        found = await self._source.balance_at(account, at) if caller.sees(account) else None
        if found is None:
            raise RefusedReadError(hidden_account(account))
        return timed(found)


def narrowed(prefix: str, allowed: Iterable[str] | None) -> list[str]:
    """Return the prefixes that are within both, none of them within another."""
    if allowed is None:
        return [prefix]
    both = sorted(
        {
            max(one, prefix, key=len)
            for one in allowed
            if one.startswith(prefix) or prefix.startswith(one)
        }
    )
    kept: list[str] = []
    for one in both:
        if not kept or not one.startswith(kept[-1]):
            kept.append(one)
    return kept
