"""Cells of rows as Postgres's binary COPY has them: made, to be compared, and read, to be named."""

import json
import struct
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

NULL: Final = b"\xff\xff\xff\xff"
LENGTH: Final = struct.Struct(">i")
EIGHT: Final = 8
_NUMBER: Final = struct.Struct(">iq")
_COUNT: Final = struct.Struct(">h")
_JSONB: Final = b"\x01"  # The version that precedes the text.
_decode = msgspec.json.decode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": ")).encode


class Kind(StrEnum):
    """What a column holds."""

    NUMBER = "number"
    TEXT = "text"
    JSON = "json"
    FLAG = "flag"


type Columns = Mapping[str, Kind]


def text(value: str | None) -> bytes:
    """Return the cell of a text."""
    if value is None:
        return NULL
    said = value.encode()
    return LENGTH.pack(len(said)) + said


def number(value: int | None) -> bytes:
    """Return the cell of a bigint."""
    return NULL if value is None else _NUMBER.pack(EIGHT, value)


def document(said: bytes) -> bytes:
    """Return the cell of a jsonb object made from this JSON.

    As Postgres writes it, as far as that can be said cheaply: a cell that differs is compared by
    its meaning before anything is called wrong.
    """
    if said == b"{}":
        return EMPTY
    return _jsonb(_ordered(_decode(said)))


def pairs(parts: Sequence[tuple[str, int]]) -> bytes:
    """Return the cell of [[grant, amount], …], NULL for none."""
    return _jsonb([list(part) for part in parts]) if parts else NULL


def _jsonb(value: object) -> bytes:
    said = _JSONB + _encode(value).encode()
    return LENGTH.pack(len(said)) + said


def _ordered(value: Any) -> Any:
    """Order keys as jsonb does: short ones first; the canonical text has them by the alphabet."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=_size)}
    return [_ordered(one) for one in value] if isinstance(value, list) else value


def _size(key: str) -> int:
    return len(key) if key.isascii() else len(key.encode())


EMPTY: Final = _jsonb({})


def split(chunk: bytes, place: int = 0) -> tuple[list[bytes | None], int]:
    """Return the cells of the row that begins here, and where it ends."""
    (count,) = _COUNT.unpack_from(chunk, place)
    place += _COUNT.size
    cells: list[bytes | None] = []
    for _ in range(count):
        (size,) = LENGTH.unpack_from(chunk, place)
        place += LENGTH.size
        cells.append(None if size < 0 else chunk[place : place + size])
        place += max(size, 0)
    return cells, place


def difference(
    columns: Columns, stored: Sequence[bytes | None], must: Sequence[bytes | None]
) -> str | None:
    """Say which cell is not what it must be, and how; None if all mean the same."""
    for (name, kind), one, other in zip(columns.items(), stored, must, strict=False):
        if one != other:
            left, right = value(kind, one), value(kind, other)
            if kind is not Kind.JSON or not _alike(left, right):
                return f"{name} is {left!r}, must be {right!r}"
    return None


def value(kind: Kind, cell: bytes | None) -> Any:
    """Return what a cell says, for people."""
    if cell is None:
        return None
    match kind:
        case Kind.NUMBER:
            return int.from_bytes(cell, signed=True)
        case Kind.FLAG:
            return cell != b"\x00"
        case Kind.JSON:
            return _decode(cell.removeprefix(_JSONB))
        case Kind.TEXT:
            return cell.decode(errors="replace")


def _alike(one: object, other: object) -> bool:
    """Compare JSON: the numbers 1 and 1.0 are one, but 1 is not `true`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
