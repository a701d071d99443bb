"""Ports for programs that must be told theirs.

They lie below those that the kernel gives to connections by itself: a port of the kernel's own
that was free a moment ago may by now be one end of some connection.
"""

import itertools
import random
import socket
from typing import Final

PORTS: Final = range(15_000, 30_000)

# Tests run in several processes at once: each of them begins somewhere else.
_turn = itertools.count(random.SystemRandom().randrange(len(PORTS)))


def free_port() -> int:
    """Return a port that nobody listens on now, and that has not been returned for long."""
    for number in itertools.islice(_turn, len(PORTS)):
        port = PORTS[number % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("every port is taken")
