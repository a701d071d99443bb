"""Every test here runs against a real PostgreSQL."""

from tests.support.postgres import dsn, server_dsn

__all__ = ["dsn", "server_dsn"]
