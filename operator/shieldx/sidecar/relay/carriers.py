"""The two ways to the API: many operations in one batch, or a request alone as it came.

A batch's result is turned back into the answer of its single call. What the API cannot do now it
is asked again, what it does not know itself is settled by its key: `standing` tells them apart.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import msgspec

from shieldx.ledger.relay import Standing, UnknownOutcomeError
from shieldx.sidecar.codes import may_retry
from shieldx.sidecar.exchange import PROBLEM, RETRY_AFTER, encode, problem
from shieldx.sidecar.relay.items import Item, Told
from shieldx.sidecar.relay.upstream import Reply, Upstream

REPLAYED: Final = b"idempotency-replayed: true\r\n"
BATCH: Final = b"/v1/batch"
CREATED: Final = "created"
OUTCOME_UNKNOWN: Final = "outcome_unknown"
# Refused before the books were asked: alone, the same request may be refused in other words.
BEFORE_THE_BOOKS: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN})
NOT_FOR_BATCHES: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})


class Coded(msgspec.Struct):
    """What is looked at in a refusal."""

    code: str = ""


_REFUSAL: Final = msgspec.json.Decoder(Coded)


class _Batch(msgspec.Struct):
    results: list[dict[str, Any]]


_BATCH: Final = msgspec.json.Decoder(_Batch)


class Alone:
    """Carries requests as they came; made for calls of one item."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def send(self, items: Sequence[Item]) -> Sequence[Told]:
        """Return what was told."""
        return [told(await self._upstream.call(item)) for item in items]


class Together:
    """Carries operations in batches."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def send(self, items: Sequence[Item]) -> Sequence[Told]:
        """Return what the single calls would have been told."""
        if len(items) == 1:
            return [told(await self._upstream.call(items[0]))]
        operations = b",".join(item.operation or b"{}" for item in items)
        # Each operation has its own key; this one is only what the call must have.
        key = f"relay-{uuid.uuid4().hex}".encode()
        body = b'{"operations":[' + operations + b"]}"
        reply = await self._upstream.call(Item("POST", BATCH, b"", key, body), inside=items)
        if reply.status == HTTPStatus.OK:
            return _apart(reply, len(items))
        refused = replace(told(reply), again=reply.status in NOT_FOR_BATCHES)
        return [refused] * len(items)


def standing(answer: Told) -> Standing:
    """Say whether an answer is the last word about its item."""
    if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Standing.SETTLED
    if answer.code == OUTCOME_UNKNOWN:
        return Standing.UNKNOWN
    if may_retry(answer.code):
        return Standing.NOT_DONE
    # Without a code it is somebody else's, such as a proxy's that may have passed the request on.
    return Standing.SETTLED if answer.code else Standing.UNKNOWN


def told(reply: Reply) -> Told:
    """Return an answer as what its item was told."""
    code = ""
    if reply.status >= HTTPStatus.BAD_REQUEST:
        try:
            code = _REFUSAL.decode(reply.payload).code
        except msgspec.DecodeError:
            code = ""
    return Told(reply.status, reply.payload, code, reply.content_type, reply.fields)


def _apart(reply: Reply, count: int) -> list[Told]:
    try:
        results = _BATCH.decode(reply.payload).results
        if len(results) != count:
            raise UnknownOutcomeError(f"{len(results)} results of {count} operations")
        everywhere = REPLAYED in reply.fields
        return [
            _single(result, replayed=everywhere or index in reply.replayed)
            for index, result in enumerate(results)
        ]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as defect:
        raise UnknownOutcomeError(f"a batch's answer cannot be read: {defect}") from defect


def _single(result: dict[str, Any], *, replayed: bool) -> Told:
    """Turn an operation's result into the answer of its single call."""
    status, code = result.pop("status"), result.pop("code")
    fields = REPLAYED if replayed else b""
    if code == CREATED:
        left = result.get("balances") or {}
        versions = {account: figures["version"] for account, figures in left.items()}
        return Told(status, encode(result), fields=fields, versions=versions)
    if may_retry(code):
        fields += RETRY_AFTER % result.get("retry_after_seconds", 1)
    message = str(result.pop("message", ""))
    return Told(
        status,
        problem(status, code, message, result),
        code,
        PROBLEM,
        fields,
        again=status in BEFORE_THE_BOOKS,
    )
