"""How much of the process one client may take; `shieldx.sidecar.connection` holds it to that.

How often it may ask is another matter: see `shieldx.sidecar.throttle`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take from the process."""

    header_bytes: int = 16 * 1024
    body_bytes: int = 1024 * 1024
    large_body_bytes: int = 8 * 1024 * 1024
    large_targets: frozenset[bytes] = frozenset({b"/v1/batch"})
    buffered_bytes: int = 64 * 1024 * 1024
    connections: int = 4096
    in_flight: int = 128
    request_seconds: float = 20.0
    write_seconds: float = 20.0
    idle_seconds: float = 75.0
    linger_seconds: float = 2.0
    grace_seconds: float = 0.5
    sweep_seconds: float = 0.25
