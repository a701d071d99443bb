"""Which lots a debit burns, a hold claims, a release gives back, a reversal restores.

Every debit burns lots in their order, and credits that came without a grant last. Each function
changes lots in the draft and returns the account as it becomes, which the caller puts.
"""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from shieldx.ledger.draft import Draft
from shieldx.ledger.operations import BREAKAGE, ISSUANCE
from shieldx.ledger.records import Account, Lot, Part


class Lapsed(NamedTuple):
    """What cannot go back to its lot, since that is over: where it goes instead."""

    expired: int = 0
    voided: int = 0

    def sinks(self) -> tuple[tuple[str, int, str], ...]:
        """Return account, amount and kind of the movements that this takes."""
        sinks = ((BREAKAGE, self.expired, "expiry"), (ISSUANCE, self.voided, "void_grant"))
        return tuple(sink for sink in sinks if sink[1])


def burn(draft: Draft, account: Account, amount: int) -> tuple[Account, tuple[Part, ...]]:
    """Burn `amount` of what no hold has claimed."""
    burnt: list[Part] = []
    if not account.lots:
        return account, ()
    for lot, taken in _free(draft, account, amount):
        burnt.append(Part(lot.id, taken))
        account = put(draft, account, lot, replace(lot, remaining=lot.remaining - taken))
    return account, tuple(burnt)


def claim(draft: Draft, account: Account, amount: int) -> tuple[Part, ...]:
    """Claim for a hold what a debit would burn now."""
    claims: list[Part] = []
    if not account.lots:
        return ()
    for lot, taken in _free(draft, account, amount):
        claims.append(Part(lot.id, taken))
        put(draft, account, lot, replace(lot, held=lot.held + taken))
    return tuple(claims)


def burn_claims(
    draft: Draft, account: Account, claims: Iterable[Part], amount: int
) -> tuple[Account, tuple[Part, ...], tuple[Part, ...]]:
    """Burn `amount` of a hold's claims, in their order; return also what was burnt, what is left.

    Lots that are over by now pay as well: a hold keeps its claim.
    """
    burnt: list[Part] = []
    left: list[Part] = []
    for grant, claimed in claims:
        taken = min(claimed, amount)
        amount -= taken
        if taken:
            burnt.append(Part(grant, taken))
            lot = draft.lot(grant)
            after = replace(lot, remaining=lot.remaining - taken, held=lot.held - taken)
            account = put(draft, account, lot, after)
        if claimed > taken:
            left.append(Part(grant, claimed - taken))
    return account, tuple(burnt), tuple(left)


def release(draft: Draft, account: Account, claims: Iterable[Part]) -> tuple[Account, Lapsed]:
    """Give claims back to their lots; return also what those that are over cannot take."""
    lapsed = {"expired": 0, "voided": 0}
    for grant, claimed in claims:
        lot = draft.lot(grant)
        after = replace(lot, held=lot.held - claimed)
        if lot.state in lapsed:
            lapsed[lot.state] += claimed
            after = replace(after, remaining=lot.remaining - claimed)
        account = put(draft, account, lot, after)
    return account, Lapsed(**lapsed)


def restore(
    draft: Draft, account: Account, parts: Iterable[Part]
) -> tuple[Account, tuple[Part, ...], Lapsed]:
    """Give burnt credits back to their lots; return also what was restored, what lapses."""
    restored: list[Part] = []
    expired = voided = 0
    for grant, amount in parts:
        lot = draft.lot(grant)
        if lot.state == "voided":
            voided += amount
        elif lot.state == "expired" or (lot.expires_at is not None and lot.expires_at <= draft.now):
            expired += amount
        else:
            restored.append(Part(grant, amount))
            after = replace(lot, remaining=lot.remaining + amount, state="active")
            account = put(draft, account, lot, after)
            account = replace(account, next_due=earlier(account.next_due, lot.expires_at))
    return account, tuple(restored), Lapsed(expired, voided)


def undone(burnt: tuple[Part, ...], amount: int, already: int, more: int) -> tuple[Part, ...]:
    """Return the lots' share of reversing `more` of a transfer of `amount`, after `already`.

    What was burnt last is given back first, so credits without a grant come back first of all.
    """
    skip, want = already, more
    parts: list[Part] = []
    without_grant = amount - sum(part.amount for part in burnt)
    for grant, size in (("", without_grant), *reversed(burnt)):
        left = max(size - skip, 0)
        skip = max(skip - size, 0)
        taken = min(left, want)
        want -= taken
        if taken and grant:
            parts.append(Part(grant, taken))
    return tuple(parts)


def sweep(draft: Draft, account: str, lapsed: Lapsed) -> None:
    """Move what has lapsed out of the account."""
    for sink, amount, kind in lapsed.sinks():
        draft.move(draft.account(account), draft.account(sink), amount, kind, {})


def earlier(one: int | None, other: int | None) -> int | None:
    """Return the earlier of two moments, either of which may be never."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _free(draft: Draft, account: Account, amount: int) -> Iterable[tuple[Lot, int]]:
    """Return lots and how much of each makes up `amount`, as far as they go."""
    for lot in draft.open_lots(account.id):
        free = lot.remaining - lot.held if lot.state == "active" else 0
        if free:
            taken = min(free, amount)
            amount -= taken
            yield lot, taken
        if not amount:
            return


def put(draft: Draft, account: Account, before: Lot, after: Lot) -> Account:
    """Put a lot; return the account with the number of its open lots."""
    if after.state == "active" and not after.remaining:
        after = replace(after, state="exhausted")
    known = draft.state.lots.get(after.id)
    if after.is_open and (known is None or not known.is_open):
        draft.changes.opened.setdefault(account.id, {})[after.id] = None
    draft.changes.lots[after.id] = replace(after, version=before.version + 1)
    return replace(account, lots=account.lots + after.is_open - before.is_open)


def rested(account: Account) -> Account:
    """Forget when time is to look again, where nothing is left that it could change."""
    return account if account.held or account.lots else replace(account, next_due=None)
