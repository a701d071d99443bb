"""The connection string of a shard's Postgres: a secret, read from a mounted file, never shown."""

from pathlib import Path


class DsnError(Exception):
    """The file does not hold a connection string; the message never quotes it."""


def read_dsn(path: Path) -> str:
    """Return the `postgresql://` connection string that the file holds."""
    try:
        dsn = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DsnError(f"{path}: cannot be read as a connection string") from error
    if not dsn.startswith(("postgresql://", "postgres://")):
        raise DsnError(f"{path}: does not hold a postgresql:// connection string")
    return dsn
