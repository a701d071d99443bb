"""The private server: it keeps its data, refuses a second owner, and never outlives its owner."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from shieldx.ledger import embedded
from shieldx.ledger.embedded import EmbeddedError, EmbeddedPostgres, InUseError, running_dsn

pytestmark = pytest.mark.postgres

OWNER = """
import asyncio, sys
from pathlib import Path
from shieldx.ledger.embedded import EmbeddedPostgres

async def main():
    print(await EmbeddedPostgres(Path(sys.argv[1])).start(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A folder that nobody but its owner can walk through."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o700)
    return folder / "data"


@pytest.fixture
def owner(locked: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that owns the server."""
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(locked)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"postgresql://")
        yield process
        process.kill()


async def count(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("create table if not exists seen (at timestamptz)")
        await connection.execute("insert into seen values (now())")
        return int(await connection.fetchval("select count(*) from seen"))
    finally:
        await connection.close()


async def test_data_outlives_the_server(locked: Path) -> None:
    for expected in (1, 2):
        async with EmbeddedPostgres(locked) as server:
            assert running_dsn(locked) == server.dsn
            assert await count(server.dsn) == expected
        assert running_dsn(locked) is None


async def test_a_directory_has_one_owner(locked: Path) -> None:
    async with EmbeddedPostgres(locked) as server:
        with pytest.raises(InUseError, match=str(locked)):
            await EmbeddedPostgres(locked).start()

        assert await count(server.dsn) == 1


async def test_the_server_dies_with_its_owner_and_the_next_one_goes_on(
    locked: Path, owner: subprocess.Popen[bytes]
) -> None:
    assert await count(running_dsn(locked) or "") == 1

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    async with EmbeddedPostgres(locked) as server:
        assert await count(server.dsn) == 2


async def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / ("long" * 30)) as server:
        assert await count(server.dsn) == 1
        assert running_dsn(server.data) == server.dsn


async def test_programs_out_of_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_may_run", lambda *_: False)

    async with EmbeddedPostgres(tmp_path / "data") as server:
        assert await count(server.dsn) == 1


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = EmbeddedPostgres(tmp_path / "data", settings={"no_such_setting": "1"})

    with pytest.raises(EmbeddedError, match="no_such_setting"):
        await broken.start()

    async with EmbeddedPostgres(tmp_path / "data") as server:
        assert await count(server.dsn) == 1
