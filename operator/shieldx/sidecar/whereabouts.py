"""In which field of a body a reader stumbled, where the body is no JSON that can be read; pure.

What is no JSON has no fields, but people have written some: whoever sends `"amount": NaN` is told
of the amount. Only the beginning of a body is looked at, so that a refusal costs next to nothing.
"""

import re
from typing import Final

BODY: Final = "body"
LOOKED_AT: Final = 8192
# Deeper than anything that is allowed.
DEEP: Final = 32

# Whoever sends many operations is told of the field in one of them.
_OPERATIONS: Final = "operations"
_PLACE: Final = re.compile(r"\(byte (\d+)\)")
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[{}\[\]:,]', re.DOTALL)


def field_of(body: bytes, problem: Exception) -> str:
    """Return the field as it was written, or `body` where it is none or lies too far behind."""
    if isinstance(problem, RecursionError):
        path = _path(body, LOOKED_AT)
        path = path if len(path) > DEEP else []
    else:
        place = _place(body, problem)
        path = _path(body, place) if 0 < place <= LOOKED_AT else []
    return next((name for name in path if name not in {None, _OPERATIONS}), None) or BODY


def _place(body: bytes, problem: Exception) -> int:
    """Return where the reader stumbled, 0 if that cannot be told."""
    if isinstance(problem, UnicodeDecodeError):
        # It tells the place in a string, of which there are many.
        try:
            body.decode()
        except UnicodeDecodeError as found:
            return found.start
    told = _PLACE.search(str(problem))
    return int(told.group(1)) if told else 0


def _path(body: bytes, place: int) -> list[str | None]:
    """Return the keys that lead to a place, None for what has no key yet or never."""
    path: list[str | None] = []
    text = b""
    for token in _TOKEN.finditer(body, 0, place):
        last, text = text, token.group()
        match text:
            case b"{" | b"[":
                path.append(None)
            case b"}" | b"]":
                path = path[:-1]
            case b":" if path:
                path[-1] = last.strip(b'"').decode("utf-8", "replace")
            case b"," if path:
                path[-1] = None
        if len(path) > DEEP:
            break
    return path
