"""The hash chain over everything that was decided, refusals included.

Each entry's hash is SHA-256 over the hash before it and the entry's canonical bytes, so a change,
a removal or a swap anywhere shows at that entry. The bytes begin with a version, and every field
carries its length: no two different entries have the same bytes.
"""

import functools
import struct
from hashlib import sha256
from typing import Final

VERSION: Final = 1
GENESIS: Final = bytes(32)
_numbers: Final = struct.Struct(">BQQ").pack
_length: Final = struct.Struct(">I").pack


def link(  # noqa: PLR0917 - one positional call an entry, on the hot path.
    previous: bytes,
    position: int,
    at: int,
    caller: str,
    key: str | None,
    operation: bytes,
    code: str,
    answer: bytes,
) -> bytes:
    """Return the 32 bytes that link an entry to the one before it.

    `at` is in microseconds since 1970; `key` None (no key) differs from the empty key.
    """
    marked = b"\x00" if key is None else b"\x01" + key.encode()
    parts = (
        previous,
        _numbers(VERSION, position, at),
        _word(caller),
        _length(len(marked)),
        marked,
        _length(len(operation)),
        operation,
        _word(code),
        _length(len(answer)),
        answer,
    )
    return sha256(b"".join(parts)).digest()


@functools.lru_cache(maxsize=1024)
def _word(text: str) -> bytes:
    """Return a text with its length before it; of callers and codes there are few."""
    encoded = text.encode()
    return _length(len(encoded)) + encoded
