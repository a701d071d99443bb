"""Every test here runs against a real Redis, some against a real PostgreSQL as well."""

import pytest

from tests.support.postgres import dsn, server_dsn
from tests.support.redis import redis

__all__ = ["dsn", "redis", "server_dsn"]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine makes Redis slow, which is not what is tested: it is dead, or it answers."""
    monkeypatch.setattr("shieldx.sidecar.redis.ANSWER_SECONDS", 10.0)
