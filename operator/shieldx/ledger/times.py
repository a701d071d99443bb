"""Times between the ledger's numbers (microseconds since 1970) and what people write (RFC 3339)."""

import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

# What in a body is a time.
TIMES: Final = ("at", "effective_at", "expires_at", "as_of")

_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@functools.lru_cache(maxsize=4096)
def rfc3339(microseconds: int) -> str:
    """Write a time of the ledger; the operations of one batch share it, so it is remembered."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=fraction, tzinfo=None)
    return f"{moment.isoformat(timespec='microseconds')}Z"


def parse_rfc3339(text: str) -> int:
    """Read a time that says its offset; ValueError says what is wrong with another."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("is not a time such as 2026-01-31T12:00:00Z (a + is written %2B here)")
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError) as problem:
        raise ValueError("is no time of the calendar") from problem


def timed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Write the times in a body as RFC 3339."""
    shown = dict(body)
    for name in TIMES:
        if name in shown and isinstance(moment := shown[name], int):
            shown[name] = rfc3339(moment)
    return shown
