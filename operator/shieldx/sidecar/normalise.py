"""From the shapes of requests to the operations of the ledger, with every default filled in.

A single call and the same operation in a batch become equal operations, which is what lets them
replay each other under one key.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import UNSET, UnsetType

from shieldx.ledger import operations as ops
from shieldx.sidecar import wire
from shieldx.sidecar.config import Holds
from shieldx.sidecar.decoding import ShapeError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def open_account(body: wire.OpenAccount) -> ops.OpenAccount:
    if body.id.startswith(ops.SYSTEM_PREFIX):
        raise ShapeError("id", f"names below {ops.SYSTEM_PREFIX} are the ledger's own")
    return ops.OpenAccount(
        id=body.id, floor=body.floor, metadata={} if body.metadata is UNSET else body.metadata
    )


def change_account(account: str, body: wire.ChangeAccount) -> ops.ChangeAccount:
    if body.state is UNSET and body.metadata is UNSET:
        raise ShapeError("state", "send a state, metadata, or both")
    return ops.ChangeAccount(id=account, state=_given(body.state), metadata=_given(body.metadata))


def transfer(body: wire.Transfer) -> ops.Transfer:
    if body.debit == body.credit:
        raise ShapeError("credit", "is the account that is debited")
    return ops.Transfer(
        debit=body.debit,
        credit=body.credit,
        amount=body.amount,
        kind="transfer" if body.kind is UNSET else body.kind,
        metadata={} if body.metadata is UNSET else body.metadata,
        reference=None if body.reference is UNSET else body.reference,
    )


def consume(account: str, body: wire.Consume) -> ops.Transfer:
    credit = ops.REVENUE if body.to is UNSET else body.to
    if credit == account:
        raise ShapeError("to", "is the account that is debited")
    return ops.Transfer(
        debit=account,
        credit=credit,
        amount=body.amount,
        kind="consume",
        metadata={} if body.metadata is UNSET else body.metadata,
        reference=None if body.reference is UNSET else body.reference,
    )


def refill(account: str, body: wire.Refill) -> ops.Transfer:
    debit = ops.ISSUANCE if body.source is UNSET else body.source
    if debit == account:
        raise ShapeError("from", "is the account that is credited")
    return ops.Transfer(
        debit=debit,
        credit=account,
        amount=body.amount,
        kind="refill",
        metadata={} if body.metadata is UNSET else body.metadata,
        reference=None if body.reference is UNSET else body.reference,
    )


def reverse(transfer_id: str, body: wire.Reverse) -> ops.Reverse:
    return ops.Reverse(transfer=transfer_id, amount=None if body.amount is UNSET else body.amount)


def reserve(body: wire.Reserve, holds: Holds) -> ops.Reserve:
    given = body.timeout_seconds
    timeout = holds.default_timeout_seconds if given is UNSET else given
    if timeout > holds.max_timeout_seconds:
        raise ShapeError("timeout_seconds", f"is above the maximum {holds.max_timeout_seconds}")
    to = ops.REVENUE if body.to is UNSET else body.to
    if to == body.account:
        raise ShapeError("to", "is the account that is held")
    return ops.Reserve(
        account=body.account,
        amount=body.amount,
        timeout_seconds=timeout,
        to=to,
        metadata={} if body.metadata is UNSET else body.metadata,
    )


def grant(account: str, body: wire.Grant) -> ops.Grant:
    if account.startswith(ops.SYSTEM_PREFIX):
        raise ShapeError("account", f"accounts below {ops.SYSTEM_PREFIX} have no grants")
    effective, expires = _moment(body.effective_at), _moment(body.expires_at)
    if effective is not None and expires is not None and expires <= effective:
        raise ShapeError("expires_at", "is not after effective_at")
    return ops.Grant(
        account=account,
        amount=body.amount,
        priority=body.priority,
        effective_at=effective,
        expires_at=expires,
        metadata={} if body.metadata is UNSET else body.metadata,
    )


def commit(hold: str, body: wire.Commit) -> ops.Commit:
    return ops.Commit(hold=hold, amount=_given(body.amount), final=body.final)


def item(operation: wire.Item, holds: Holds) -> ops.Operation:  # noqa: PLR0911 — one a type
    """Turn an operation of a batch into what its single call would be."""
    match operation:
        case wire.TransferItem():
            return transfer(operation)
        case wire.ConsumeItem():
            return consume(operation.account, operation)
        case wire.RefillItem():
            return refill(operation.account, operation)
        case wire.ReverseItem():
            return reverse(operation.transfer, operation)
        case wire.HoldItem():
            return reserve(operation, holds)
        case wire.CommitItem():
            return commit(operation.hold, operation)
        case wire.VoidItem():
            return ops.Void(hold=operation.hold)
        case wire.GrantItem():
            return grant(operation.account, operation)


def _moment(given: datetime | UnsetType) -> int | None:
    """Return microseconds since 1970."""
    return None if isinstance(given, UnsetType) else (given - EPOCH) // MICROSECOND


def _given[T](value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value
