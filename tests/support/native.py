"""Native histograms as a client shows them: just enough of Prometheus' protocol, by hand.

No client for Python has them. Fields are numbered as in io.prometheus.client.metrics.proto.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterable

VARINT, DOUBLE, BYTES = 0, 1, 2
HISTOGRAM = 4


def shown(name: str, seconds: Iterable[float], schema: int = 3) -> bytes:
    """Return one histogram of these observations; two to the `schema` buckets an octave."""
    observed = list(seconds)
    counts = Counter(math.ceil(math.log2(each) * 2**schema) for each in observed)
    histogram = (
        _number(1, len(observed))
        + _double(2, sum(observed))
        + _number(5, _signed(schema))
        + _double(6, 2.0**-128)
    )
    before, last = 0, 0
    for place, (index, n) in enumerate(sorted(counts.items())):
        # One span a bucket: how far it is from the one before, and that it is one.
        offset = index if place == 0 else index - before - 1
        histogram += _bytes(12, _number(1, _signed(offset)) + _number(2, 1))
        histogram += _number(13, _signed(n - last))
        before, last = index, n
    family = _bytes(1, name.encode()) + _number(3, HISTOGRAM) + _bytes(4, _bytes(7, histogram))
    return _varint(len(family)) + family


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def _signed(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | DOUBLE) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(value)) + value
