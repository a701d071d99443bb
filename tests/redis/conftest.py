"""Every test here runs against a real Redis, some against a real PostgreSQL as well."""

from tests.support.postgres import dsn, server_dsn
from tests.support.redis import redis

__all__ = ["dsn", "redis", "server_dsn"]
