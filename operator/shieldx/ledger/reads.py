"""What callers read: the committed state of a shard, in the shapes of the API.

Reads have connections of their own and never wait for writes. What time has decided is shown as
done from its moment on, though nobody has settled it yet: the rules say what settling will do.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from typing import Any, Final

import msgspec

from shieldx.ledger import cursors
from shieldx.ledger.model import decide, merge
from shieldx.ledger.operations import BREAKAGE, ISSUANCE, Settle
from shieldx.ledger.pool import Pool
from shieldx.ledger.records import (
    SYSTEM_CALLER,
    Lot,
    Part,
    Request,
    State,
    lot_body,
    parts_body,
    transfer_id,
)
from shieldx.ledger.rows import learn

_decode = msgspec.json.decode


_NAMED: Final = re.compile(
    r"^-- name: (?P<name>\w+)$(?P<query>.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL
)


def _queries() -> dict[str, str]:
    """Return the named queries of `sql/queries.sql`."""
    file = resources.files("shieldx.ledger") / "sql" / "queries.sql"
    found = _NAMED.finditer(file.read_text(encoding="utf-8"))
    return {query["name"]: query["query"].rstrip().removesuffix(";") for query in found}


QUERIES: Final = _queries()


class Reads:
    """Read-only queries over a few connections, opened when first used."""

    def __init__(self, dsn: str, shard: str) -> None:
        self.pool = Pool(dsn)
        self._shard = shard

    async def close(self) -> None:
        """Close the connections."""
        await self.pool.close()

    async def balances(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return the balances of those accounts that exist."""
        return {
            row["id"]: {"account": row["id"], **figures(row), "as_of": row["as_of"]}
            for row in await self.accounts(ids)
        }

    async def account(self, account: str) -> dict[str, Any] | None:
        """Return one account, or None."""
        for row in await self.accounts([account]):
            return account_of(row)
        return None

    async def grants(
        self, account: str, state: str | None, cursor: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return an account's grants, newest first, and the cursor of the next page."""
        (row,) = await self.fetch("accounts", [account])
        settled = await self.settled(row["as_of"], [account]) if row["overdue"] else None
        rows = await self.fetch("grants", account, _before(cursor), limit + 1, state, row["as_of"])
        lots = settled.lots if settled else {}
        return [_grant(row, lots) for row in rows[:limit]], _next(rows, limit, "created")

    async def accounts(self, ids: Collection[str]) -> list[dict[str, Any]]:
        """Return accounts as they are when what is due has been done."""
        rows = await self.fetch("accounts", list(ids))
        overdue = [row["id"] for row in rows if row["overdue"]]
        if overdue:
            settled = (await self.settled(rows[0]["as_of"], overdue)).accounts
            for row in rows:
                if account := settled.get(row["id"]):
                    row |= {k: getattr(account, k) for k in ("balance", "held", "version")}
        return rows

    async def settled(self, now: int, accounts: list[str], *, past: bool = False) -> State:
        """Ask the rules how accounts stand once they are settled; nothing is stored.

        Settled by `now`; else, unless it is of the `past`, no earlier than the chain's last entry.
        """
        wanted = [*accounts, ISSUANCE, BREAKAGE]
        (row,) = await self.fetch("settled", wanted, now)
        state = State(self._shard)
        learn(state, _decode(row["said"]))
        settle = Request(
            SYSTEM_CALLER, [Settle(account=a) for a in accounts], [None] * len(accounts)
        )
        _, changes = decide(state, [settle], now if past else max(now, state.head.at))
        merge(state, changes)
        return state

    async def transfer(self, transfer: str) -> dict[str, Any] | None:
        """Return one transfer, or None."""
        number = _number(transfer, f"tx_{self._shard}_")
        if number is None:
            return None
        for row in await self.fetch("transfer", number):
            return self._transfer(row)
        return None

    async def transfers_by_reference(self, reference: str) -> list[dict[str, Any]]:
        """Return the transfer that carries this reference, if there is one."""
        rows = await self.fetch("transfer_by_reference", reference)
        return [self._transfer(row) for row in rows]

    async def hold(self, hold: str) -> dict[str, Any] | None:
        """Return one hold, or None."""
        for row in await self.fetch("hold", hold):
            return _hold(row)
        return None

    async def holds(
        self, account: str, state: str | None, cursor: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return an account's holds, newest first, and the cursor of the next page."""
        rows = await self.fetch(
            "holds",
            account,
            _before(cursor),
            limit + 1,
            state,
        )
        return [_hold(row) for row in rows[:limit]], _next(rows, limit, "opened")

    async def entries(
        self,
        account: str,
        cursor: str | None,
        limit: int,
        *,
        since: int | None = None,
        until: int | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return an account's movements, newest first, and the cursor of the next page.

        Only those from `since` on and before `until` where given, in microseconds since 1970.
        """
        above, below = 0, _before(cursor)
        if since is not None or until is not None:
            (span,) = await self.fetch("span", since, until)
            above, below = span["above"], min(below, span["below"])
        rows = await self.fetch("entries", account, below, limit + 1, above)
        return [self._entry(row, account) for row in rows[:limit]], _next(rows, limit, "seq")

    async def parties(self, name: str) -> tuple[str, ...]:
        """Return the accounts of a transfer or hold, or none where there is no such thing."""
        number = _number(name, f"tx_{self._shard}_")
        if number is not None:
            rows = await self.fetch("parties_of_transfer", number)
        else:
            rows = await self.fetch("parties_of_hold", name)
        return tuple(rows[0]["parties"]) if rows else ()

    async def due_accounts(self, limit: int) -> list[str]:
        """Return accounts that time has changed and that nobody has settled yet."""
        return [row["account"] for row in await self.fetch("due_accounts", limit)]

    async def status(self) -> dict[str, Any]:
        """Return how far the chain has got."""
        (row,) = await self.fetch("status")
        return dict(row)

    async def clock_behind(self) -> int:
        """Return by how many microseconds the clock is behind the shard's time; mostly 0."""
        (row,) = await self.fetch("clock_behind")
        return int(row["behind"])

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Run one named query."""
        return await self.pool.fetch(QUERIES[query], *arguments)

    def _transfer(self, row: Mapping[str, Any]) -> dict[str, Any]:
        body = {
            "id": transfer_id(self._shard, row["seq"]),
            "seq": row["seq"],
            "debit": row["debit"],
            "credit": row["credit"],
            "amount": row["amount"],
            "kind": row["kind"],
            "at": row["at"],
            "metadata": _decode(row["metadata_text"]),
            "balances": {row[side]: _side(row, side) for side in ("debit", "credit")},
        }
        if row["reference"] is not None:
            body["reference"] = row["reference"]
        if row["reverses"] is not None:
            body["reverses"] = transfer_id(self._shard, row["reverses"])
        for trace in ("burnt", "restored"):
            if row[trace] is not None:
                body[trace] = parts_body([Part(*pair) for pair in _decode(row[trace])])
        if row["receipt"] is not None:
            body["receipt"] = row["receipt"]
        return body

    def _entry(self, row: Mapping[str, Any], account: str) -> dict[str, Any]:
        paid = row["debit"] == account
        side, other = ("debit", "credit") if paid else ("credit", "debit")
        return {
            "seq": row["seq"],
            "transfer": transfer_id(self._shard, row["seq"]),
            "kind": row["kind"],
            "other": row[other],
            "amount": -row["amount"] if paid else row["amount"],
            **_side(row, side),
            "at": row["at"],
        }


def account_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an account as the API shows it."""
    return {
        "id": row["id"],
        "state": row["state"],
        "floor": row["floor"],
        "available_below": row["alert"],
        "metadata": _decode(row["metadata"]),
        **figures(row),
    }


def figures(row: Mapping[str, Any]) -> dict[str, int]:
    """Return what a row says of an account."""
    return {
        "balance": row["balance"],
        "held": row["held"],
        "available": row["balance"] - row["held"],
        "version": row["version"],
    }


def _side(row: Mapping[str, Any], side: str) -> dict[str, int]:
    return figures({k: row[f"{side}_{k}"] for k in ("balance", "held", "version")})


def _hold(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "account": row["account"],
        "to": row["to"],
        "amount": row["amount"],
        "remaining": 0 if row["overdue"] else row["remaining"],
        "state": "expired" if row["overdue"] else row["state"],
        "committed_amount": row["committed"],
        "expires_at": row["expires_at"],
        "metadata": _decode(row["metadata_text"]),
    }


def _grant(row: Mapping[str, Any], settled: Mapping[str, Lot | None]) -> dict[str, Any]:
    if lot := settled.get(row["id"]):
        return lot_body(lot)
    columns = ("id", "account", "amount", "remaining", "held", "priority")
    times = ("effective_at", "expires_at", "state")
    body = {column: row[column] for column in (*columns, *times)}
    return body | {"metadata": _decode(row["metadata_text"])}


def _number(name: str, prefix: str) -> int | None:
    number = name.removeprefix(prefix)
    if number == name or not (number.isascii() and number.isdigit()) or len(number) > 18:  # noqa: PLR2004 - what a bigint always holds.
        return None
    return int(number)


def _before(cursor: str | None) -> int:
    """Return the number that a page lies below."""
    return cursors.LAST if cursor is None else cursors.read_number(cursor)


def _next(rows: Sequence[Mapping[str, Any]], limit: int, column: str) -> str | None:
    return cursors.write(rows[limit - 1][column]) if len(rows) > limit else None
