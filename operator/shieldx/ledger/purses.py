"""The lots of the retelling: which of them pay, and what becomes of those that end."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from math import inf

from shieldx.ledger.told import Account, Lot, Original, Parts, Told

type _Place = tuple[int, float, int, Lot]


@dataclass(slots=True)
class Purses:
    """All lots by id, and of each account the open ones in burning order."""

    lots: Told[Lot] = field(default_factory=lambda: Told("grant"))
    _open: dict[str, list[_Place]] = field(default_factory=dict)

    def add(self, lot: Lot) -> None:
        self.lots[lot.id] = lot
        lot.account.lots += 1
        self._file(lot)

    def burn(self, account: Account, amount: int) -> Parts:
        parts = self.take(account, amount)
        for lot, taken in parts:
            self.change(lot, remaining=-taken)
        return parts

    def take(self, account: Account, amount: int) -> Parts:
        """Return which lots pay how much: by priority, expiry (never last), age."""
        parts: list[tuple[Lot, int]] = []
        for *_, lot in self._open.get(account.id, ()):
            if taken := min(lot.free, amount):
                parts.append((lot, taken))
                amount -= taken
            if not amount:
                break
        return parts

    def release(self, claims: Parts) -> dict[str, int]:
        """Give claims back to their lots; return what those that are over cannot take."""
        lapsed = {"expired": 0, "voided": 0}
        for lot, claimed in claims:
            over = lot.state in lapsed
            if over:
                lapsed[lot.state] += claimed
            self.change(lot, held=-claimed, remaining=-claimed if over else 0)
        return lapsed

    def restore(
        self, original: Original, already: int, amount: int, at: int
    ) -> tuple[Parts, dict[str, int]]:
        """Give lots back what a reversal undoes, the last burnt first."""
        without_grant = original.amount - sum(size for _, size in original.burnt)
        restored: list[tuple[Lot, int]] = []
        lapsed = {"expired": 0, "voided": 0}
        first, last = already, already + amount
        end = without_grant
        for grant, size in reversed(original.burnt):
            start, end = end, end + size
            back = min(end, last) - max(start, first)
            if back <= 0:
                continue
            lot = self.lots[grant]
            ended = lot.expires_at is not None and lot.expires_at <= at
            if lot.state == "voided":
                lapsed["voided"] += back
            elif lot.state == "expired" or ended:
                lapsed["expired"] += back
            else:
                restored.append((lot, back))
                self.change(lot, remaining=back, state="active")
        return restored, lapsed

    def change(
        self, lot: Lot, *, remaining: int = 0, held: int = 0, state: str | None = None
    ) -> None:
        was_open = lot.is_open
        lot.remaining += remaining
        lot.held += held
        lot.state = state or lot.state
        if lot.state == "active" and not lot.remaining:
            lot.state = "exhausted"
        lot.version += 1
        if lot.is_open != was_open:
            lot.account.lots += 1 if lot.is_open else -1
            self._file(lot)

    def _file(self, lot: Lot) -> None:
        """Put an open lot among its account's, in burning order, or take one out that is over."""
        ends = inf if lot.expires_at is None else lot.expires_at
        place = (lot.priority, ends, lot.created, lot)
        purse = self._open.setdefault(lot.account.id, [])
        if lot.is_open:
            insort(purse, place)
        else:
            del purse[bisect_left(purse, place)]
