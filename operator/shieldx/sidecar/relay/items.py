"""What travels: a request as it came, and with it, where it has one, its form inside a batch.

Whatever is not exactly understood here has no such form and travels alone, so that the API judges
it and says what is wrong in its own words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shieldx.sidecar import wire
from shieldx.sidecar.decoding import ShapeError, decode
from shieldx.sidecar.exchange import JSON, Exchange
from shieldx.sidecar.router import Match

type Shape = msgspec.json.Decoder[Any]


@dataclass(frozen=True, slots=True)
class Form:
    """How a single call looks as an operation of a batch."""

    type: str
    shape: Shape
    subject: str | None = None  # the field of the operation that the call has in its path


FORMS: Final[dict[str, Form]] = {
    "transfer": Form("transfer", msgspec.json.Decoder(wire.Transfer)),
    "consume": Form("consume", msgspec.json.Decoder(wire.Consume), "account"),
    "refill": Form("refill", msgspec.json.Decoder(wire.Refill), "account"),
    "grant": Form("grant", msgspec.json.Decoder(wire.Grant), "account"),
    "reverse": Form("reverse", msgspec.json.Decoder(wire.Reverse), "transfer"),
    "reserve": Form("hold", msgspec.json.Decoder(wire.Reserve)),
    "commit": Form("commit", msgspec.json.Decoder(wire.Commit), "hold"),
    "void": Form("void", msgspec.json.Decoder(wire.Void), "hold"),
}


@dataclass(slots=True, eq=False)
class Item:
    """One request; `operation` is its form inside a batch, JSON.

    `sent` says that it may have reached the API, since there was a connection for it.
    """

    method: str
    target: bytes
    query: bytes
    key: bytes | None
    body: bytes
    operation: bytes | None = None
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What the API told about one item; `code` is that of a refusal.

    `versions` are those in which an operation of a batch has left its accounts. `again` marks a
    refusal out of a batch that did not reach the books: alone, it may get other words.
    """

    status: int
    payload: bytes
    code: str = ""
    content_type: bytes = JSON
    fields: bytes = b""
    versions: Mapping[str, int] | None = None
    again: bool = False


def item(exchange: Exchange, match: Match | None = None) -> Item:
    """Return a request as what travels; alone where `match` is None."""
    operation = None
    if match is not None and exchange.key is not None and not exchange.query:
        operation = _operation(match, exchange.key, exchange.body)
    return Item(
        exchange.method.decode("ascii"),
        exchange.target,
        exchange.query,
        exchange.key,
        exchange.body,
        operation,
    )


def measure(one: Item) -> tuple[int, int]:
    """Return an item's operations and bytes."""
    return 1, len(one.body) + len(one.operation or b"")


def _operation(match: Match, key: bytes, body: bytes) -> bytes | None:
    form = FORMS.get(match.call.name)
    if form is None:
        return None
    try:
        fields: dict[str, Any] = msgspec.to_builtins(decode(body, form.shape))
        fields |= {"type": form.type, "idempotency_key": key.decode("ascii")}
        if form.subject is not None:
            fields[form.subject] = match.id
        return msgspec.json.encode(msgspec.convert(fields, wire.Item))
    except (ShapeError, UnicodeDecodeError, msgspec.ValidationError):
        return None
