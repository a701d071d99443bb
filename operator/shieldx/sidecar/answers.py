"""How an outcome of the ledger looks on the wire, alone and inside a batch."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from shieldx.ledger.records import Answer, Code
from shieldx.ledger.times import timed
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.codes import status_of
from shieldx.sidecar.decoding import ShapeError
from shieldx.sidecar.exchange import Exchange, encode
from shieldx.sidecar.rights import Refusal, visible_balances

REPLAYED: Final = b"idempotency-replayed: true\r\n"

DRY: Final = "dry_"
MADE: Final = ("id", "transfer")


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
    marked = {name: f"{DRY}{answer.body[name]}" for name in MADE if name in answer.body}
    return replace(answer, body={**answer.body, **marked})


def give(exchange: Exchange, caller: Caller, answer: Answer, status: int) -> None:
    """Answer a single call; `status` is that of its success."""
    fields = REPLAYED if answer.replayed else b""
    if answer.code is Code.CREATED:
        exchange.answer(status, encode(_proven(caller, answer)), fields=fields)
        return
    facts = dict(answer.body)
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


def result(caller: Caller, answer: Answer) -> dict[str, Any]:
    """Wrap an operation's answer as an item of a batch's results."""
    shown = _proven(caller, answer)
    code = shown["code"] = str(answer.code)
    shown["status"] = status_of(code)
    return shown


def _proven(caller: Caller, answer: Answer) -> dict[str, Any]:
    """Return the body with its receipt, if there is one."""
    body = present(caller, answer.body)
    if answer.receipt is not None and answer.code is Code.CREATED:
        body["receipt"] = answer.receipt
    return body


def refused_result(refusal: Refusal | ShapeError) -> dict[str, Any]:
    """Wrap a refusal that did not reach the ledger as an item of a batch's results."""
    if isinstance(refusal, ShapeError):
        message, facts = f"{refusal.field}: {refusal.message}", {"field": refusal.field}
    else:
        message, facts = refusal.message, dict(refusal.facts)
    return {"status": status_of(refusal.code), "code": refusal.code, "message": message, **facts}
