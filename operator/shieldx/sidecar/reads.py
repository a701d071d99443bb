"""The calls that only read. Balances coalesce into one query; the others are a task each."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from shieldx.ledger.cursors import InvalidCursorError
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.times import timed
from shieldx.sidecar import answers
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.coalesce import Coalescer
from shieldx.sidecar.decoding import ShapeError
from shieldx.sidecar.exchange import Exchange, encode
from shieldx.sidecar.query import limit_of, moment, parse_query
from shieldx.sidecar.rights import (
    Refusal,
    hidden_account,
    hidden_hold,
    hidden_transfer,
    missing_scope,
)
from shieldx.sidecar.router import IDENTITY, Match

logger = logging.getLogger(__name__)

HOLD_STATES: Final = ("held", "committed", "voided", "expired")
GRANT_STATES: Final = ("pending", "active", "exhausted", "expired", "voided")

type Body = Mapping[str, Any]
type Balances = Callable[[list[str]], Awaitable[Mapping[str, dict[str, Any]]]]
type Page = tuple[list[dict[str, Any]], str | None]
type Read = Callable[[Caller, str, dict[str, str]], Awaitable[Body]]


class Source(Protocol):
    """What the ledger can be asked."""

    async def balances(self, ids: list[str]) -> Mapping[str, dict[str, Any]]: ...
    async def account(self, identity: str) -> dict[str, Any] | None: ...
    async def transfer(self, identity: str) -> dict[str, Any] | None: ...
    async def transfers_by_reference(self, reference: str) -> list[dict[str, Any]]: ...
    async def hold(self, identity: str) -> dict[str, Any] | None: ...
    async def holds(
        self, account: str, state: str | None, cursor: str | None, limit: int
    ) -> Page: ...
    async def grants(
        self, account: str, state: str | None, cursor: str | None, limit: int
    ) -> Page: ...
    async def entries(
        self,
        account: str,
        cursor: str | None,
        limit: int,
        *,
        since: int | None = None,
        until: int | None = None,
    ) -> Page: ...


class Reads:
    """Answers what is asked about accounts, transfers and holds."""

    def __init__(
        self,
        source: Source,
        others: Mapping[str, Read] | None = None,
        balances: Balances | None = None,
    ) -> None:
        self._source = source
        self._balances = Coalescer(balances or source.balances)
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: dict[str, Read] = {
            **(others or {}),
            "get_account": self._account,
            "list_entries": self._entries,
            "get_transfer": self._transfer,
            "find_transfer": self._find_transfer,
            "get_hold": self._hold,
            "list_holds": self._holds,
            "list_grants": self._grants,
        }

    def serve(self, exchange: Exchange, caller: Caller, match: Match) -> None:
        """Answer one reading call."""
        call = match.call
        if call.scope is not None and not caller.may(call.scope):
            answers.refuse_by(exchange, missing_scope(call.scope))
            return
        try:
            query = parse_query(exchange.query, call.query)
        except ShapeError as error:
            answers.refuse_shape(exchange, error)
            return
        if call.name == "get_balance" and "at" not in query:
            self._balance(exchange, caller, match.id)
            return
        task = asyncio.create_task(self._answer(exchange, caller, match, query))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _balance(self, exchange: Exchange, caller: Caller, account: str) -> None:
        if not caller.sees(account):
            answers.refuse_by(exchange, hidden_account(account))
            return

        def answered(balance: dict[str, Any] | None, error: Exception | None) -> None:
            if error is not None:
                _fail(exchange, error)
            elif balance is None:
                answers.refuse_by(exchange, hidden_account(account))
            else:
                exchange.answer(200, encode(answers.present(caller, balance)))

        self._balances.look_up(account, answered)

    async def _answer(
        self, exchange: Exchange, caller: Caller, match: Match, query: dict[str, str]
    ) -> None:
        try:
            body = await self._calls[match.call.name](caller, match.id, query)
        except RefusedReadError as refused:
            answers.refuse_by(exchange, refused.refusal)
        except ShapeError as error:
            answers.refuse_shape(exchange, error)
        except Exception as error:  # noqa: BLE001 — told apart, logged and answered there.
            _fail(exchange, error)
        else:
            exchange.answer(200, encode(body))

    async def _account(self, caller: Caller, account: str, _: dict[str, str]) -> Body:
        found = await self._source.account(account) if caller.sees(account) else None
        if found is None:
            raise RefusedReadError(hidden_account(account))
        return found

    async def _entries(self, caller: Caller, account: str, query: dict[str, str]) -> Body:
        await self._account(caller, account, {})
        since, until = moment(query, "from"), moment(query, "to")
        cursor, limit = query.get("cursor"), limit_of(query)
        return page(await self._source.entries(account, cursor, limit, since=since, until=until))

    async def _transfer(self, caller: Caller, transfer: str, _: dict[str, str]) -> Body:
        found = await self._source.transfer(transfer)
        if found is None or not caller.sees_any((found["debit"], found["credit"])):
            raise RefusedReadError(hidden_transfer(transfer))
        return answers.present(caller, found)

    async def _find_transfer(self, caller: Caller, _: str, query: dict[str, str]) -> Body:
        if "reference" not in query:
            raise ShapeError("reference", "say which: ?reference=…")
        found = await self._source.transfers_by_reference(query["reference"])
        seen = [one for one in found if caller.sees_any((one["debit"], one["credit"]))]
        return {"items": [answers.present(caller, one) for one in seen], "next": None}

    async def _hold(self, caller: Caller, hold: str, _: dict[str, str]) -> Body:
        found = await self._source.hold(hold)
        if found is None or not caller.sees_any((found["account"], found["to"])):
            raise RefusedReadError(hidden_hold(hold))
        return answers.present(caller, found)

    async def _holds(self, caller: Caller, _: str, query: dict[str, str]) -> Body:
        account, state = query.get("account"), query.get("state")
        if account is None or not IDENTITY.fullmatch(account):
            raise ShapeError("account", "say whose holds: ?account=…")
        _must_be_one_of(HOLD_STATES, state)
        await self._account(caller, account, {})
        return page(await self._source.holds(account, state, query.get("cursor"), limit_of(query)))

    async def _grants(self, caller: Caller, account: str, query: dict[str, str]) -> Body:
        state, cursor = query.get("state"), query.get("cursor")
        _must_be_one_of(GRANT_STATES, state)
        await self._account(caller, account, {})
        return page(await self._source.grants(account, state, cursor, limit_of(query)))


class RefusedReadError(Exception):
    """The read is refused for a reason that its answer tells."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def _must_be_one_of(states: tuple[str, ...], state: str | None) -> None:
    if state is not None and state not in states:
        raise ShapeError("state", f"is not one of {', '.join(states)}")


def page(found: Page) -> Body:
    """Return a page as the API shows it."""
    items, following = found
    return {"items": [timed(item) for item in items], "next": following}


def _fail(exchange: Exchange, error: Exception) -> None:
    match error:
        case InvalidCursorError():
            answers.refuse_shape(exchange, ShapeError("cursor", "is not one that a page gave"))
        case ShardUnavailableError():
            exchange.refuse("shard_unavailable", "The database does not answer; try again.")
        case _:
            logger.error("A read failed", exc_info=error)
            exchange.refuse("internal_error", "Our fault: see the server's log.")
