"""Every test here runs against a real PostgreSQL."""

import socket

import pytest

from tests.support.postgres import dsn, server_dsn

__all__ = ["dsn", "server_dsn"]


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
