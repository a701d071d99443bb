"""How an outcome of the ledger looks on the wire, alone and inside a batch."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from shieldx.ledger.records import Answer, Code, TransferBody
from shieldx.ledger.times import rfc3339, timed
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.codes import status_of
from shieldx.sidecar.decoding import ShapeError
from shieldx.sidecar.exchange import Exchange, encode
from shieldx.sidecar.rights import Refusal, visible_balances

REPLAYED: Final = b"idempotency-replayed: true\r\n"

DRY: Final = "dry_"
MADE: Final = ("id", "transfer")


class ShownTransfer(msgspec.Struct, kw_only=True, gc=False):
    """A `TransferBody` as a caller may see it, and what stands beside it, likewise in order."""

    amount: int
    at: str
    balances: Mapping[str, Any]
    burnt: Any
    code: str | UnsetType = UNSET
    credit: str
    debit: str
    id: str
    kind: str
    metadata: Mapping[str, Any]
    receipt: str | UnsetType = UNSET
    reference: str | UnsetType
    restored: Any
    reverses: str | UnsetType
    seq: int
    status: int | UnsetType = UNSET


type Shown = dict[str, Any] | ShownTransfer


def present(caller: Caller, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resource as this caller may see it."""
    shown = timed(body)
    balances = shown.get("balances")
    if balances is not None:
        shown["balances"] = visible_balances(caller, balances)
    return shown


def rehearsed(answer: Answer) -> Answer:
    """Mark the ids in the answer of a dry run: what they name does not exist."""
    if answer.code is not Code.CREATED or answer.replayed:
        return answer
    body = answer.body
    marked = {name: f"{DRY}{body[name]}" for name in MADE if name in body}
    return replace(answer, said={**body, **marked})


def give(exchange: Exchange, caller: Caller, answer: Answer, status: int) -> None:
    """Answer a single call; `status` is that of its success."""
    fields = REPLAYED if answer.replayed else b""
    if answer.code is Code.CREATED:
        exchange.answer(status, encode(_proven(caller, answer)), fields=fields)
        return
    facts = answer.body
    exchange.refuse(answer.code.value, str(facts.pop("message", "")), facts, fields=fields)


def replays(indexes: Sequence[int], count: int) -> bytes:
    """Say which operations of a batch are replays: all of them, or by their places."""
    if len(indexes) == count:
        return REPLAYED
    places = ",".join(map(str, indexes)).encode()
    return b"idempotency-replayed-operations: %b\r\n" % places if places else b""


def refuse_by(exchange: Exchange, refusal: Refusal) -> None:
    """Refuse for a reason that was found before the ledger was asked."""
    exchange.refuse(refusal.code, refusal.message, refusal.facts)


def refuse_shape(exchange: Exchange, error: ShapeError) -> None:
    """Refuse what is not of the call's shape, by the name of the field."""
    exchange.refuse(error.code, f"{error.field}: {error.message}", {"field": error.field})


def result(caller: Caller, answer: Answer) -> Shown:
    """Wrap an operation's answer as an item of a batch's results."""
    shown, code = _proven(caller, answer), str(answer.code)
    if isinstance(shown, ShownTransfer):
        shown.code, shown.status = code, status_of(code)
    else:
        shown["code"], shown["status"] = code, status_of(code)
    return shown


def code_of(result: Shown) -> str:
    """Return the code of an item of a batch's results."""
    return str(result.code if isinstance(result, ShownTransfer) else result["code"])


def _proven(caller: Caller, answer: Answer) -> Shown:
    """Return the body with its receipt, if there is one."""
    said, receipt = answer.said, answer.receipt
    if isinstance(said, TransferBody):
        return ShownTransfer(
            amount=said.amount,
            at=rfc3339(said.at),
            balances=visible_balances(caller, said.balances),
            burnt=said.burnt,
            credit=said.credit,
            debit=said.debit,
            id=said.id,
            kind=said.kind,
            metadata=said.metadata,
            receipt=UNSET if receipt is None else receipt,
            reference=said.reference,
            restored=said.restored,
            reverses=said.reverses,
            seq=said.seq,
        )
    body = present(caller, said)
    if receipt is not None and answer.code is Code.CREATED:
        body["receipt"] = receipt
    return body


def refused_result(refusal: Refusal | ShapeError) -> dict[str, Any]:
    """Wrap a refusal that did not reach the ledger as an item of a batch's results."""
    if isinstance(refusal, ShapeError):
        message, facts = f"{refusal.field}: {refusal.message}", {"field": refusal.field}
    else:
        message, facts = refusal.message, dict(refusal.facts)
    return {"status": status_of(refusal.code), "code": refusal.code, "message": message, **facts}
