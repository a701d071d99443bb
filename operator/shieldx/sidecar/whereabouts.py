"""In which field of a body a reader stumbled, where the body is no JSON that can be read; pure.

What is no JSON has no fields, but people have written some: whoever sends `"amount": NaN` is told
of the amount, in a batch of 1,000 operations too. Nobody is told who makes that expensive.
"""

import re
from itertools import islice
from typing import Final

BODY: Final = "body"
# More than 1,000 operations have, keys and some metadata included; it takes some 30 milliseconds.
MOST_TOKENS: Final = 50_000
# Deeper than anything that is allowed.
DEEP: Final = 32

# Whoever sends many operations is told of the field in one of them.
_OPERATIONS: Final = "operations"
_OPEN: Final = frozenset((b"{", b"["))
_CLOSE: Final = frozenset((b"}", b"]"))
_PLACE: Final = re.compile(r"\(byte (\d+)\)")
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]:,]', re.DOTALL)


def field_of(body: bytes, problem: Exception) -> str:
    """Return the field as it was written, or `body` where it is none or lies too far behind."""
    if isinstance(problem, RecursionError):
        path = _path(body, len(body))
        path = path if len(path) > DEEP else []
    else:
        path = _path(body, _place(body, problem))
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
    """Return the keys that lead to a place, None for what has no key yet or never.

    None at all lead to a place that lies too far behind.
    """
    path: list[bytes | None] = []
    text = b""
    tokens = _TOKEN.finditer(body, 0, place)
    for token in islice(tokens, MOST_TOKENS):
        last, text = text, token[0]
        if text in _OPEN:
            path.append(None)
            if len(path) > DEEP:
                break
        elif not path:
            continue
        elif text in _CLOSE:
            path.pop()
        elif text == b":":
            path[-1] = last
        elif text == b",":
            path[-1] = None
    else:
        if next(tokens, None) is not None:
            return []
    return [None if key is None else key.strip(b'"').decode("utf-8", "replace") for key in path]
