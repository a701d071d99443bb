"""`shieldx ledger verify`: what it says and how it exits."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from shieldx.ledger.embedded import EmbeddedPostgres
from tests.support.api import Service

pytestmark = pytest.mark.postgres


async def verify(*arguments: str) -> tuple[int, str]:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shieldx", "ledger", "verify", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    done = await asyncio.to_thread(run)
    return done.returncode, done.stdout + done.stderr


async def some_books(dsn: str) -> None:
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", 10)
        await client.consume("a", 3)
        await client.consume("a", 30)
        await client.post("/v1/holds", {"account": "a", "amount": 2})


@pytest.fixture
def dsn_file(dsn: str, tmp_path: Path) -> Path:
    path = tmp_path / "dsn"
    path.write_text(dsn)
    return path


async def test_clean_books_are_counted(dsn: str, dsn_file: Path) -> None:
    await some_books(dsn)

    code, said = await verify(f"--dsn-file={dsn_file}")

    assert code == 0
    assert "5 entries, 2 transfers, 4 accounts, 1 holds, 0 grants verified: clean" in said


@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        ("update accounts set balance = balance + 1 where id = 'a'", "a"),
        ("update transfers set amount = amount + 1 where seq = 2", "2"),
        ("update entries set answer = set_byte(answer, 9, 0) where position = 3", "entry 3"),
    ],
)
async def test_the_first_thing_that_does_not_fit_is_named(
    dsn: str, dsn_file: Path, tampering: str, named: str
) -> None:
    await some_books(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute("set session_replication_role = replica")
    await connection.execute(tampering)
    await connection.close()

    code, said = await verify(f"--dsn-file={dsn_file}")

    assert code == 1
    assert "NOT clean" in said
    assert named in said.partition("first problem: ")[2]


async def test_an_embedded_ledger_is_verified_running_and_at_rest(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "data") as server:
        await some_books(server.dsn)
        assert (await verify(f"--data={tmp_path}/data"))[0] == 0

    code, said = await verify(f"--data={tmp_path}/data")
    assert code == 0
    assert "verified: clean\n" in said


async def test_what_cannot_be_told_exits_with_2_and_shows_no_secret(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.write_text("postgresql://user:hunter2@127.0.0.1:1/nothing")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("hunter2")

    for arguments in (
        (f"--dsn-file={away}",),
        (f"--dsn-file={nonsense}",),
        (f"--dsn-file={tmp_path}/nowhere",),
        (f"--data={tmp_path}/nowhere",),
        (),
        (f"--dsn-file={away}", f"--data={tmp_path}"),
    ):
        code, said = await verify(*arguments)
        assert code == 2, said
        assert "hunter2" not in said


async def test_a_database_that_is_no_ledger_exits_with_2(dsn_file: Path) -> None:
    code, said = await verify(f"--dsn-file={dsn_file}")

    assert code == 2
    assert "no ledger" in said
