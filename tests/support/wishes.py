"""What may be asked of a ledger: drawn by Hypothesis, often possible and sometimes not."""

from collections.abc import Mapping, Sequence
from typing import Final

from hypothesis import strategies as st

from shieldx.ledger.model import State
from shieldx.ledger.operations import (
    ISSUANCE,
    ChangeAccount,
    Commit,
    Grant,
    OpenAccount,
    Operation,
    Reserve,
    Reverse,
    SetAlert,
    Transfer,
    Void,
    VoidGrant,
)

NAMES: Final = ("a", "b", "c", "d")  # d is not there at first.

names = st.sampled_from(NAMES)
amounts = st.integers(1, 30)
steps_back = st.integers(0, 4)


def recent[T](data: st.DataObject, things: Sequence[T]) -> T:
    """Draw one of the last few, the last one if Hypothesis may choose."""
    return things[-1 - data.draw(steps_back) % len(things)]


def operation(data: st.DataObject, state: State, now: int) -> Operation:  # noqa: C901, PLR0911 - a table of what may be drawn.
    """Draw an operation, of what the state knows."""
    kind = data.draw(st.integers(0, 13), label="kind")
    name, other = data.draw(names), data.draw(names)
    amount = data.draw(amounts)
    if other == name:
        other = ISSUANCE
    match kind:
        case 0 | 1:
            return Transfer(debit=ISSUANCE, credit=name, amount=amount, kind="refill")
        case 2 | 3:
            reference = data.draw(st.none() | st.sampled_from(["x", "y"]))
            return Transfer(debit=name, credit=other, amount=amount, reference=reference)
        case 4 | 5:
            seconds = data.draw(st.integers(1, 9))
            return Reserve(account=name, amount=amount, timeout_seconds=seconds, to=other)
        case 6 | 7:
            part = data.draw(st.none() | amounts)
            hold = _pick(data, state.holds, "hold_s0_1")
            return Commit(hold=hold, amount=part, final=data.draw(st.booleans()))
        case 8:
            return Void(hold=_pick(data, state.holds, "hold_s0_1"))
        case 9:
            transfer = _pick(data, state.posted, "tx_s0_1")
            return Reverse(transfer=transfer, amount=data.draw(st.none() | amounts))
        case 10:
            begins = data.draw(st.none() | st.integers(-2, 4))
            start = None if begins is None else now + begins * 1_000_000
            lasts = data.draw(st.none() | st.integers(1, 6))
            end = lasts and (start or now) + lasts * 1_000_000
            return Grant(
                account=name,
                amount=amount,
                priority=data.draw(st.integers(0, 2)),
                effective_at=start,
                expires_at=end,
            )
        case 11:
            return VoidGrant(account=name, grant=_pick(data, state.lots, "grant_s0_1"))
        case 12:
            below = data.draw(st.none() | st.integers(0, 60))
            return SetAlert(account=name, available_below=below)
        case _:
            states = st.sampled_from([None, "frozen", "open", "closed"])
            change = data.draw(states)
            return ChangeAccount(id=name, state=change) if change else OpenAccount(id=name)


def _pick(data: st.DataObject, known: Mapping[str, object], otherwise: str) -> str:
    # Drawn in any case: what is known hangs on the order of events, what is drawn must not.
    back = data.draw(steps_back)
    ids = [name for name, row in known.items() if row is not None] or [otherwise]
    return ids[-1 - back % len(ids)]
