"""Reading a request's query: every parameter known, none twice."""

from typing import Final
from urllib.parse import parse_qsl

from shieldx.ledger.times import parse_rfc3339
from shieldx.sidecar.decoding import ShapeError

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


def parse_query(query: bytes, known: tuple[str, ...]) -> dict[str, str]:
    """Read the query's parameters: each known, none twice."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise ShapeError("query", "is not of the form name=value&…") from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise ShapeError(name, f"is not a parameter here; known: {', '.join(known) or 'none'}")
        if name in parameters:
            raise ShapeError(name, "given twice")
        if "\0" in value:
            raise ShapeError(name, "holds a NUL character")
        parameters[name] = value
    return parameters


def limit_of(query: dict[str, str]) -> int:
    """Return how many items a page may have."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise ShapeError("limit", f"is not a number from 1 to {MAX_LIMIT}")
    return int(text)


def moment(query: dict[str, str], name: str) -> int | None:
    """Return a time of the query in microseconds since 1970, or None."""
    if name not in query:
        return None
    try:
        return parse_rfc3339(query[name])
    except ValueError as problem:
        raise ShapeError(name, str(problem)) from problem
