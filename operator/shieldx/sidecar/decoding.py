"""Strict reading of request bodies: one meaning, or a refusal that names the field.

Money is integers: a number with a fraction or an exponent is refused wherever it stands, in
metadata too. So is everything that two readers of one body could understand differently: unknown
fields, a key given twice, broken UTF-8, nesting without end.
"""

import json
import re
from typing import Any, Final

import msgspec
from msgspec import UNSET

from shieldx.sidecar.whereabouts import field_of
from shieldx.sidecar.wire import MAX_AMOUNT, MAX_OPERATIONS, Batch, Body, Item, LooseBatch

MAX_METADATA_BYTES: Final = 4096
MAX_METADATA_DEPTH: Final = 16
QUOTES_OF_ONE_KEY: Final = 2
UNREADABLE: Final = "not JSON that can be read"

SIMPLE_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
FIELD_AT: Final = re.compile(r" - at `\$\.?([A-Za-z0-9_]*)")
FIELD_NAMED: Final = re.compile(r"(?:unknown|required) field `([^`]*)`")


class ShapeError(Exception):
    """The request is not of the shape that the call takes: the client's fault, nothing is done."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

    @property
    def code(self) -> str:
        """`invalid_<field>`; a name that is no field of ours is not echoed into the code."""
        return f"invalid_{self.field if SIMPLE_FIELD.fullmatch(self.field) else 'field'}"


ITEM: Final[msgspec.json.Decoder[Item]] = msgspec.json.Decoder(Item)
BATCH: Final = msgspec.json.Decoder(Batch)
LOOSE_BATCH: Final = msgspec.json.Decoder(LooseBatch)

_encode: Final = msgspec.json.Encoder().encode


def decode[T: Body](body: bytes, shape: msgspec.json.Decoder[T]) -> T:
    """Decode a body strictly; ShapeError names the field that is wrong."""
    try:
        decoded = shape.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise _shape_error(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ShapeError(field_of(body, error), f"{UNREADABLE}: {error}") from error
    if not is_unambiguous(body, decoded):
        refuse_ambiguity(body)
    _check(decoded)
    return decoded


def decode_batch(body: bytes) -> tuple[bool, list[Item | ShapeError]]:
    """Decode a batch; an operation that is malformed is an error in its place."""
    try:
        batch = BATCH.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Its operations are not decoded yet, so what is in them has not been looked at.
        loose = decode(body, LOOSE_BATCH)
        refuse_ambiguity(body)
        _check_count(len(loose.operations))
        return loose.atomic is True, [_decode_item(bytes(raw)) for raw in loose.operations]
    if not is_unambiguous(body, batch):
        refuse_ambiguity(body)
    _check_count(len(batch.operations))
    return batch.atomic is True, [_checked(item) for item in batch.operations]


class TooManyOperationsError(Exception):
    """A batch is larger than one batch may be."""


def _check_count(count: int) -> None:
    if count > MAX_OPERATIONS:
        raise TooManyOperationsError
    if count == 0:
        raise ShapeError("operations", "send at least one operation")


def _decode_item(raw: bytes) -> Item | ShapeError:
    try:
        item = ITEM.decode(raw)
    except msgspec.ValidationError as error:
        return _shape_error(str(error))
    return _checked(item)


def _checked(item: Item) -> Item | ShapeError:
    if getattr(item, "metadata", UNSET) is UNSET:
        return item
    try:
        _check(item)
    except ShapeError as error:
        return error
    return item


def is_unambiguous(body: bytes, decoded: Body) -> bool:
    """Whether it is certain at a glance that no object in the body has a key twice.

    Of a key that is there twice one value is lost in decoding, and its quotes with it. So if what
    was decoded is written with as many quotes as the body has, nothing was lost. Escapes could
    hide quotes, and what is given as its default is not written again: then a glance is not enough.
    """
    quotes = body.count(b'"')
    if quotes <= QUOTES_OF_ONE_KEY:
        return True
    return b"\\" not in body and quotes == _encode(decoded).count(b'"')


def refuse_ambiguity(body: bytes) -> None:
    """Refuse a body in which an object has a key twice: two readers would see two bodies."""
    try:
        json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ShapeError(field_of(body, error), f"{UNREADABLE}: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ShapeError(twice, "given twice")


def _check(decoded: msgspec.Struct) -> None:
    """Refuse metadata that a ledger cannot keep for ever and give back unchanged."""
    metadata = getattr(decoded, "metadata", UNSET)
    if metadata is UNSET:
        return
    _check_value(metadata, 1)
    if len(_encode(metadata)) > MAX_METADATA_BYTES:
        raise ShapeError("metadata", f"larger than {MAX_METADATA_BYTES} bytes")


def _check_value(value: object, depth: int) -> None:
    if depth > MAX_METADATA_DEPTH:
        raise ShapeError("metadata", f"nested deeper than {MAX_METADATA_DEPTH} levels")
    match value:
        case dict() | list():
            inside = [*value, *value.values()] if isinstance(value, dict) else value
            for inner in inside:
                _check_value(inner, depth + 1)
        case float():
            raise ShapeError("metadata", "holds a number with a fraction; write it as a string")
        case int() if not -MAX_AMOUNT - 1 <= value <= MAX_AMOUNT:
            raise ShapeError("metadata", "holds a number beyond 64 bits; write it as a string")
        case str() if "\0" in value:
            raise ShapeError("metadata", "holds a NUL character")
        case _:
            return


def _shape_error(message: str) -> ShapeError:
    """Turn msgspec's message into the field it is about and what is wrong with it."""
    where = FIELD_AT.search(message)
    named = FIELD_NAMED.search(message)
    text = message.partition(" - at `")[0].replace(r"(?![\s\S])", "$")
    if where and where.group(1):
        return ShapeError(where.group(1), text)
    if named:
        return ShapeError(named.group(1), text)
    return ShapeError("body", text)
