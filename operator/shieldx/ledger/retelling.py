"""What must be, retold from the chain alone by a plain interpreter.

It shares no code with `model`: the engine is not its own judge. It trusts that what an entry says
was done was allowed, does it again, and so knows every account, hold, lot and transfer.
"""

from bisect import insort
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

ISSUANCE: Final = "system/issuance"
REVENUE: Final = "system/revenue"
BREAKAGE: Final = "system/breakage"

type Row = dict[str, Any]


class UntoldError(Exception):
    """The chain speaks of something that it never made."""


@dataclass(slots=True)
class Books:
    """Every row of every table as it must be, by id; transfers are handed out as they are made."""

    shard: str
    accounts: dict[str, Row] = field(default_factory=dict)
    holds: dict[str, Row] = field(default_factory=dict)
    lots: dict[str, Row] = field(default_factory=dict)
    reversed: dict[int, int] = field(default_factory=dict)
    transfers: int = 0
    _purses: dict[str, list[tuple[int, float, int, str]]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    _made: list[Row] = field(default_factory=list)
    _position: int = 0
    _at: int = 0

    def __post_init__(self) -> None:
        for name in (ISSUANCE, REVENUE, BREAKAGE):
            self._open({"id": name, "floor": None})

    def retell(
        self, position: int, at: int, operation: Row, code: str, original: Row | None = None
    ) -> list[Row]:
        """Do again what an entry did; return the transfers that it made.

        `original` is the transfer that a reversal reverses, as it was told before.
        """
        self._made, self._position, self._at = [], position, at
        self.touched = set()
        if code == "created" and original is not None:
            self._reverse(operation, original)
        elif code == "created":
            self._do(operation)
        elif operation["type"] == "activate":
            self._close_lot(self.lot(operation["grant"]), "voided")
        return self._made

    def account(self, name: str) -> Row:
        return _known(self.accounts, "account", name)

    def hold(self, name: str) -> Row:
        return _known(self.holds, "hold", name)

    def lot(self, name: str) -> Row:
        return _known(self.lots, "grant", name)

    def _do(self, operation: Row) -> None:  # noqa: C901, PLR0912 - one case a kind.
        match operation["type"]:
            case "open":
                self._open(operation)
            case "change":
                account = self._touched(operation["id"])
                account["state"] = operation.get("state") or account["state"]
                if operation.get("metadata") is not None:
                    account["metadata"] = operation["metadata"]
            case "set_alert":
                self._touched(operation["account"])["alert"] = operation.get("available_below")
            case "transfer":
                debit, amount = operation["debit"], operation["amount"]
                parts = self._burn(debit, amount)
                self._move(
                    debit,
                    operation["credit"],
                    amount,
                    operation.get("kind", "transfer"),
                    metadata=operation.get("metadata", {}),
                    reference=operation.get("reference"),
                    burnt=parts,
                )
            case "hold":
                self._reserve(operation)
            case "commit":
                self._commit(operation)
            case "void":
                self._finish(self.hold(operation["hold"]), "voided")
            case "expire":
                self._finish(self.hold(operation["hold"]), "expired")
            case "grant":
                self._grant(operation)
            case "activate":
                lot = self.lot(operation["grant"])
                self._change_lot(lot, state="active")
                self._move(ISSUANCE, lot["account"], lot["amount"], "grant", lot["metadata"])
            case "expire_grant":
                self._close_lot(self.lot(operation["grant"]), "expired")
            case "void_grant":
                self._close_lot(self.lot(operation["grant"]), "voided")
            case "note" | "alert" | "batch":
                pass  # The operations of a batch have entries of their own before it.
            case unknown:
                raise UntoldError(f"operation {unknown} is unknown to this program")

    def _open(self, operation: Row) -> None:
        self.touched.add(operation["id"])
        self.accounts[operation["id"]] = {
            "balance": 0,
            "held": 0,
            "floor": operation.get("floor", 0),
            "state": "open",
            "version": 1,
            "metadata": operation.get("metadata", {}),
            "lots": 0,
            "alert": None,
        }

    def _touched(self, name: str) -> Row:
        account = self.account(name)
        account["version"] += 1
        self.touched.add(name)
        return account

    def _move(
        self,
        debit: str,
        credit: str,
        amount: int,
        kind: str,
        metadata: Any,
        *,
        reference: str | None = None,
        reverses: int | None = None,
        burnt: list[tuple[str, int]] | None = None,
        restored: list[tuple[str, int]] | None = None,
    ) -> None:
        paid, got = self._touched(debit), self._touched(credit)
        paid["balance"] -= amount
        got["balance"] += amount
        self.transfers += 1
        row = {
            "seq": self.transfers,
            "position": self._position,
            "at": self._at,
            "debit": debit,
            "credit": credit,
            "amount": amount,
            "kind": kind,
            "reference": reference,
            "reverses": reverses,
            "metadata": metadata,
            "burnt": [list(part) for part in burnt] if burnt else None,
            "restored": [list(part) for part in restored] if restored else None,
        }
        for side, account in (("debit", paid), ("credit", got)):
            for column in ("balance", "held", "version"):
                row[f"{side}_{column}"] = account[column]
        self._made.append(row)

    def _reverse(self, operation: Row, original: Row) -> None:
        seq = original["seq"]
        already = self.reversed.get(seq, 0)
        amount = operation.get("amount")
        amount = original["amount"] - already if amount is None else amount
        self.reversed[seq] = already + amount
        payer, payee = original["credit"], original["debit"]
        parts = self._burn(payer, amount)
        restored, lapsed = self._restore(original, already, amount)
        self._move(
            payer, payee, amount, "reversal", {}, reverses=seq, burnt=parts, restored=restored
        )
        self._sweep(payee, lapsed)

    def _reserve(self, operation: Row) -> None:
        name, amount = operation["account"], operation["amount"]
        self._touched(name)["held"] += amount
        claims = self._take(name, amount)
        for grant, taken in claims:
            self._change_lot(self.lot(grant), held=taken)
        self.holds[f"hold_{self.shard}_{self._position}"] = {
            "opened": self._position,
            "account": name,
            "to": operation.get("to", REVENUE),
            "amount": amount,
            "remaining": amount,
            "committed": 0,
            "state": "held",
            "expires_at": self._at + operation["timeout_seconds"] * 1_000_000,
            "version": 1,
            "metadata": operation.get("metadata", {}),
            "claims": [list(claim) for claim in claims] or None,
        }

    def _commit(self, operation: Row) -> None:
        hold = self.hold(operation["hold"])
        account, amount = hold["account"], operation.get("amount")
        amount = hold["remaining"] if amount is None else amount
        left = 0 if operation.get("final", True) else hold["remaining"] - amount
        burnt, claims, due = [], [], amount
        for grant, claimed in hold["claims"] or []:
            taken = min(claimed, due)
            due -= taken
            if taken:
                burnt.append((grant, taken))
                self._change_lot(self.lot(grant), remaining=-taken, held=-taken)
            if claimed > taken:
                claims.append([grant, claimed - taken])
        lapsed = {} if left else self._release(claims)
        self.account(account)["held"] -= hold["remaining"] - left
        self._move(account, hold["to"], amount, "commit", hold["metadata"], burnt=burnt)
        hold["remaining"] = left
        hold["committed"] += amount
        hold["state"] = "held" if left else "committed"
        hold["claims"] = (claims or None) if left else None
        hold["version"] += 1
        self._sweep(account, lapsed)

    def _finish(self, hold: Row, state: str) -> None:
        lapsed = self._release(hold["claims"] or [])
        self._touched(hold["account"])["held"] -= hold["remaining"]
        hold["remaining"], hold["state"], hold["claims"] = 0, state, None
        hold["version"] += 1
        self._sweep(hold["account"], lapsed)

    def _grant(self, operation: Row) -> None:
        name = f"grant_{self.shard}_{self._position}"
        starts = operation.get("effective_at")
        starts = self._at if starts is None else starts
        self.lots[name] = {
            "id": name,
            "account": operation["account"],
            "amount": operation["amount"],
            "remaining": operation["amount"],
            "held": 0,
            "priority": operation.get("priority", 0),
            "effective_at": starts,
            "expires_at": operation.get("expires_at"),
            "state": "pending",
            "created": self._position,
            "version": 1,
            "metadata": operation.get("metadata", {}),
        }
        self._count(self.lots[name], 1)
        self._file(self.lots[name])
        if starts > self._at:
            self._touched(operation["account"])
            return
        self.lots[name]["state"] = "active"
        metadata = operation.get("metadata", {})
        self._move(ISSUANCE, operation["account"], operation["amount"], "grant", metadata)

    def _close_lot(self, lot: Row, state: str) -> None:
        """Take what is left of a lot and not held."""
        free = lot["remaining"] - lot["held"] if lot["state"] == "active" else 0
        self._change_lot(lot, remaining=lot["held"] - lot["remaining"], state=state)
        if not free:
            self._touched(lot["account"])
        self._sweep(lot["account"], {state: free})

    def _sweep(self, account: str, lapsed: dict[str, int]) -> None:
        for state, sink, kind in (
            ("expired", BREAKAGE, "expiry"),
            ("voided", ISSUANCE, "void_grant"),
        ):
            if amount := lapsed.get(state):
                self._move(account, sink, amount, kind, {})

    def _burn(self, account: str, amount: int) -> list[tuple[str, int]]:
        parts = self._take(account, amount)
        for grant, taken in parts:
            self._change_lot(self.lot(grant), remaining=-taken)
        return parts

    def _take(self, account: str, amount: int) -> list[tuple[str, int]]:
        """Return which lots pay how much: by priority, expiry (never last), age."""
        parts = []
        for *_, grant in self._purses.get(account, ()):
            lot = self.lot(grant)
            free = lot["remaining"] - lot["held"] if lot["state"] == "active" else 0
            if taken := min(free, amount):
                parts.append((grant, taken))
                amount -= taken
            if not amount:
                break
        return parts

    def _release(self, claims: list[Any]) -> dict[str, int]:
        """Give claims back to their lots; return what those that are over cannot take."""
        lapsed = {"expired": 0, "voided": 0}
        for grant, claimed in claims:
            lot = self.lot(grant)
            over = lot["state"] in lapsed
            if over:
                lapsed[lot["state"]] += claimed
            self._change_lot(lot, held=-claimed, remaining=-claimed if over else 0)
        return lapsed

    def _restore(
        self, original: Row, already: int, amount: int
    ) -> tuple[list[tuple[str, int]], dict[str, int]]:
        """Give lots back what a reversal undoes, the last burnt first."""
        burnt = [(grant, size) for grant, size in original["burnt"] or []]
        without_grant = original["amount"] - sum(size for _, size in burnt)
        restored: list[tuple[str, int]] = []
        lapsed = {"expired": 0, "voided": 0}
        first, last = already, already + amount
        end = 0
        for grant, size in ((None, without_grant), *reversed(burnt)):
            start, end = end, end + size
            back = min(end, last) - max(start, first)
            if grant is None or back <= 0:
                continue
            lot = self.lot(grant)
            ended = lot["expires_at"] is not None and lot["expires_at"] <= self._at
            if lot["state"] == "voided":
                lapsed["voided"] += back
            elif lot["state"] == "expired" or ended:
                lapsed["expired"] += back
            else:
                restored.append((grant, back))
                self._change_lot(lot, remaining=back, state="active")
        return restored, lapsed

    def _change_lot(
        self, lot: Row, *, remaining: int = 0, held: int = 0, state: str | None = None
    ) -> None:
        was_open = _is_open(lot)
        lot["remaining"] += remaining
        lot["held"] += held
        lot["state"] = state or lot["state"]
        if lot["state"] == "active" and not lot["remaining"]:
            lot["state"] = "exhausted"
        lot["version"] += 1
        self._count(lot, _is_open(lot) - was_open)
        if _is_open(lot) != was_open:
            self._file(lot)

    def _count(self, lot: Row, change: int) -> None:
        self.account(lot["account"])["lots"] += change

    def _file(self, lot: Row) -> None:
        """Put an open lot among its account's, in burning order, or take one out that is over."""
        ends = inf if lot["expires_at"] is None else lot["expires_at"]
        place = (lot["priority"], ends, lot["created"], lot["id"])
        purse = self._purses.setdefault(lot["account"], [])
        if _is_open(lot):
            insort(purse, place)
        else:
            purse.remove(place)


def _is_open(lot: Row) -> bool:
    return lot["state"] in {"pending", "active"} or lot["held"] > 0


def _known(rows: dict[str, Row], kind: str, name: str) -> Row:
    if (row := rows.get(name)) is None:
        raise UntoldError(f"{kind} {name}: no entry of the chain made it")
    return row
