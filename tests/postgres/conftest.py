"""Every test here runs against a real PostgreSQL."""

import pytest

from tests.support import ports
from tests.support.postgres import dsn, server_dsn

__all__ = ["dsn", "server_dsn"]


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on now."""
    return ports.free_port()
