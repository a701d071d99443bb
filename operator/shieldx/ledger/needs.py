"""What must be read before a batch can be decided: what it touches and nobody remembers; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shieldx.ledger.draft import touched
from shieldx.ledger.jobs import Job
from shieldx.ledger.operations import (
    BREAKAGE,
    ISSUANCE,
    Commit,
    Operation,
    Reverse,
    Transfer,
    Void,
    VoidGrant,
)
from shieldx.ledger.records import State


@dataclass(slots=True)
class Needs:
    """Rows that are not known, by table; `due`: accounts for which time has decided something."""

    accounts: set[str] = field(default_factory=set)
    grants: set[str] = field(default_factory=set)
    holds: set[str] = field(default_factory=set)
    transfers: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)
    keys: set[tuple[str, str]] = field(default_factory=set)
    due: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(
            self.accounts
            or self.grants
            or self.holds
            or self.transfers
            or self.references
            or self.keys
            or self.due
        )


def needs_of(state: State, jobs: Sequence[Job], now: int, *, wary: bool) -> Needs:
    """Return what `state` does not know of what the jobs touch."""
    needs, used = Needs(), state.used
    # Where credits go that lapse with their lot, and where those of a grant come from.
    needs.accounts.update(sink for sink in (ISSUANCE, BREAKAGE) if sink not in state.accounts)
    for job in jobs:
        # Of what is not stored, `store` cannot say that its key is known.
        every_key = wary or job.dry
        for key in job.keys:
            if key is not None:
                name = job.caller, key
                if (every_key or name in used) and name not in state.keys:
                    needs.keys.add(name)
        for operation in job.operations:
            _add(needs, state, operation, now)
    return needs


def _add(needs: Needs, state: State, operation: Operation, now: int) -> None:  # noqa: C901 - one case a kind.
    match operation:
        case Transfer():
            reference = operation.reference
            if reference is not None and reference not in state.references:
                needs.references.add(reference)
        case Commit(hold=hold) | Void(hold=hold) if hold not in state.holds:
            needs.holds.add(hold)
        case Reverse(transfer=transfer) if transfer not in state.posted:
            needs.transfers.add(transfer)
        case Reverse(transfer=transfer) if posted := state.posted[transfer]:
            needs.grants.update(one.grant for one in posted.burnt if one.grant not in state.lots)
        case VoidGrant(grant=grant) if grant not in state.lots:
            needs.grants.add(grant)
        case _:
            pass
    accounts = state.accounts
    for account in touched(operation, state):
        known = accounts.get(account)
        if known is None:
            if account not in accounts:
                needs.accounts.add(account)
        elif known.next_due is not None and known.next_due <= now:
            needs.due.add(account)
