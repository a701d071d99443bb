"""Cursors: where a page ended, in a form that nobody should read anything into."""

import base64
import binascii
from typing import Final

LAST: Final = 2**63 - 1


class InvalidCursorError(ValueError):
    """The cursor was not given out by this ledger."""


def write(place: int | str) -> str:
    """Return the cursor of a place."""
    return base64.urlsafe_b64encode(str(place).encode()).decode()


def read_text(cursor: str) -> str:
    """Return the place of a cursor."""
    try:
        return base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error) as problem:
        raise InvalidCursorError("the cursor was not given out by this ledger") from problem


def read_number(cursor: str) -> int:
    """Return the place of a cursor that is a number of 63 bits."""
    text = read_text(cursor)
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > LAST:  # noqa: PLR2004 - digits of LAST.
        raise InvalidCursorError("the cursor was not given out by this ledger")
    return int(text)
