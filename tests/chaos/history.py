"""Judges whether the history of an account is linearizable: one order fits time and answers.

Every answer names the account's version, and the chain gives versions out one by one: that is the
witness, so the order need not be searched for, only checked (a search in the manner of Wing and
Gong, for short histories, is in `test_history.py` and must agree).

An answer `a` is before `b` in time if it had come before `b` was sent. What must hold:

    a version is written once, and its figures are the same wherever they are shown
    what is before a write in time has a smaller version; what is before a read no larger one
    a write moves the balance of the version before by what was asked
    a refusal shows the credits of some version that was current while it was asked
"""

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from tests.chaos.journal import Asked, Journal, Said

NEVER: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Event:
    """One answer about one account; `moved` of a write is what it did to the balance."""

    name: str
    began: int
    ended: int
    version: int
    balance: int
    held: int
    moved: int | None = None

    @property
    def wrote(self) -> bool:
        return self.moved is not None


@dataclass(frozen=True, slots=True)
class Refusal:
    """One debit that was refused, since no more than `available` was there."""

    name: str
    began: int
    ended: int
    available: int


def first_fault(
    events: Sequence[Event], refusals: Sequence[Refusal] = (), *, holds_expire: bool = False
) -> str | None:
    """Name the first answer about an account that fits no order; None if there is one.

    `holds_expire`: holds end by time, and reads and refusals show that before it is written: then
    only writes are compared, by their balances.
    """
    if holds_expire:
        events, refusals = [event for event in events if event.wrote], ()
    checks = (
        _figures(events, holds_expire=holds_expire),
        _steps(events),
        _order(events),
        _refused(events, refusals),
    )
    return next((fault for check in checks for fault in check), None)


def _figures(events: Sequence[Event], *, holds_expire: bool) -> Iterator[str]:
    written: dict[int, Event] = {}
    for event in (e for e in events if e.wrote):
        other = written.setdefault(event.version, event)
        if other is not event:
            yield f"{event.name} and {other.name} both wrote version {event.version}"
    for event in events:
        known = written.get(event.version, event)
        if event.balance != known.balance or (not holds_expire and event.held != known.held):
            yield f"{event.name} shows version {event.version} with other figures than {known.name}"


def _steps(events: Sequence[Event]) -> Iterator[str]:
    writes = sorted((e for e in events if e.moved is not None), key=lambda e: e.version)
    for before, after in pairwise(writes):
        moved = after.balance - before.balance
        if after.version == before.version + 1 and moved != after.moved:
            yield f"{after.name} moved {moved} instead of {after.moved}"


class _Bounds:
    """Which versions may be shown at a moment, by what was shown before and after it."""

    def __init__(self, events: Sequence[Event]) -> None:
        by_end = sorted(events, key=lambda e: e.ended)
        self._ends = [e.ended for e in by_end]
        self._lowest = list(accumulate((e.version for e in by_end), max))
        by_begin = sorted(events, key=lambda e: e.began, reverse=True)
        self._begins = [-e.began for e in by_begin]
        self._highest = list(accumulate((e.version - e.wrote for e in by_begin), min))

    def lowest(self, moment: int) -> int:
        """Return the latest version that had been shown before this moment."""
        count = bisect.bisect_left(self._ends, moment)
        return self._lowest[count - 1] if count else 0

    def highest(self, moment: int) -> int:
        """Return the earliest version that was current after this moment."""
        count = bisect.bisect_left(self._begins, -moment)
        return self._highest[count - 1] if count else NEVER


def _order(events: Sequence[Event]) -> Iterator[str]:
    bounds = _Bounds(events)
    for event in events:
        lowest = bounds.lowest(event.began)
        if event.version < lowest + event.wrote:
            yield f"{event.name} is stale: it shows version {event.version} after {lowest}"


def _refused(events: Sequence[Event], refusals: Sequence[Refusal]) -> Iterator[str]:
    """Give each refusal the first version that it can have seen, in the order of time."""
    bounds = _Bounds(events)
    offering: dict[int, list[int]] = {}
    for version, available in sorted({(e.version, e.balance - e.held) for e in events if e.wrote}):
        offering.setdefault(available, []).append(version)
    ends: list[int] = []
    latest: list[int] = []
    for refusal in sorted(refusals, key=lambda r: r.ended):
        before = bisect.bisect_left(ends, refusal.began)
        lowest = max(bounds.lowest(refusal.began), latest[before - 1] if before else 0)
        fits = offering.get(refusal.available, [])
        chosen = bisect.bisect_left(fits, lowest)
        if chosen == len(fits) or fits[chosen] > bounds.highest(refusal.ended):
            yield f"{refusal.name} was refused with {refusal.available}, which never was there then"
            continue
        ends.append(refusal.ended)
        latest.append(max(fits[chosen], latest[-1] if latest else 0))


def histories(journal: Journal) -> dict[str, tuple[list[Event], list[Refusal]]]:
    """Return what was told about each account, and when it was asked and answered."""
    told: dict[str, tuple[list[Event], list[Refusal]]] = {}

    def of(account: str) -> tuple[list[Event], list[Refusal]]:
        return told.setdefault(account, ([], []))

    for asked in journal.asked.values():
        said = asked.outcome
        if said is None:
            continue
        if said.done:
            for account, event in _events(asked, said):
                of(account)[0].append(event)
        elif said.code == "insufficient_credits" and asked.path != "/v1/batch":
            body = said.body
            account = str(body["account"])
            of(account)[1].append(Refusal(asked.key, asked.sent[0], said.at, body["available"]))
    for read in journal.reads:
        body = read.body
        event = Event(
            f"a read of {read.account}",
            read.began,
            read.ended,
            body["version"],
            body["balance"],
            body["held"],
        )
        of(read.account)[0].append(event)
    return told


def _events(asked: Asked, said: Said) -> Iterator[tuple[str, Event]]:
    results: Iterable[dict[str, object]] = said.body.get("results", [said.body])
    for result in results:
        moved = effects(result)
        for account, shown in shown_accounts(result):
            yield (
                account,
                Event(
                    asked.key,
                    asked.sent[0],
                    said.at,
                    shown["version"],
                    shown["balance"],
                    shown["held"],
                    moved.get(account, 0),
                ),
            )


def shown_accounts(body: dict[str, object]) -> Iterator[tuple[str, dict[str, int]]]:
    """Return the accounts that an answer shows, with their figures."""
    balances = body.get("balances")
    if isinstance(balances, dict):
        yield from balances.items()
    elif "version" in body:  # an account that was opened
        yield str(body["id"]), body  # type: ignore[misc]


def effects(body: dict[str, object]) -> dict[str, int]:
    """Return what an answer says was moved, by account."""
    match body:
        case {"debit": str(debit), "credit": str(credit), "amount": int(amount)}:
            return {debit: -amount, credit: amount}
        case {
            "account": str(account),
            "to": str(to),
            "transfer": str(),
            "committed_amount": int(amount),
        }:
            return {account: -amount, to: amount}
        case {
            "account": str(account),
            "amount": int(amount),
            "effective_at": str(),
            "transfer": str(),
        }:
            return {"system/issuance": -amount, account: amount}
        case _:
            return {}
