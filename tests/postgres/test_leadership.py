"""Who writes is found out, whatever happens on the way to it."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import NoReturn

import asyncpg
import pytest

from shieldx.ledger.jobs import Job
from shieldx.ledger.leadership import ANSWER_SECONDS, LOOK_SECONDS, Leadership
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import OpenAccount
from shieldx.ledger.pool import Pool
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.records import Answer
from shieldx.ledger.relay import UnknownOutcomeError
from shieldx.ledger.routing import Role
from shieldx.ledger.writer import Peers

pytestmark = pytest.mark.postgres

# As a commit on a disk that has other things to do.
BUSY_DISK = f"""
create function wait() returns trigger language plpgsql as $$
begin
    perform pg_sleep({2 * ANSWER_SECONDS});
    return new;
end;
$$;
create trigger wait before insert or update on writer for each row execute function wait();
"""


@pytest.fixture
async def leaders(dsn: str) -> AsyncIterator[tuple[Leadership, Leadership]]:
    """Two processes that stand for the lock, the first of which is to have it."""
    await Ledger.open(dsn, "s0").migrate()
    first, second = Leadership(dsn, "first", "a:1"), Leadership(dsn, "second", "b:2")
    yield first, second
    await first.close()
    await second.close()


class Nowhere:
    """A way on which everything fails, each thing in its own manner."""

    async def send(self, address: str, jobs: Sequence[Job]) -> NoReturn:
        raise UnknownOutcomeError(f"{address} has not answered {len(jobs)} jobs")

    async def hears(self, address: str) -> NoReturn:
        raise RuntimeError(f"no library expects {address}")

    async def close(self) -> None:
        """Let go of nothing."""


async def leads(leader: Leadership) -> None:
    async with asyncio.timeout(60):
        while not leader.mine:  # noqa: ASYNC110 - nobody rings.
            await asyncio.sleep(0.05)


async def test_whoever_could_not_look_looks_again(
    leaders: tuple[Leadership, Leadership],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = leaders
    await first.start()
    await leads(first)
    await second.start()
    look, failed = second._look, asyncio.Event()

    async def fail_once() -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("nobody expects this")
        await look()

    monkeypatch.setattr(second, "_look", fail_once)
    with caplog.at_level(logging.CRITICAL, logger="shieldx.ledger.leadership"):
        await failed.wait()
        await first.resign()

        await leads(second)


def stop_while_ended(dsn: str) -> None:
    """Do nothing, as if stopped, while all sessions of this process are ended."""

    async def end() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        await connection.close()

    ending = threading.Thread(target=asyncio.run, args=[end()])
    ending.start()
    ending.join()
    time.sleep(2 * LOOK_SECONDS)


async def test_whoever_was_stopped_and_ended_meanwhile_stands_again(
    leaders: tuple[Leadership, Leadership],
    dsn: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopped, _ = leaders
    await stopped.start()
    await leads(stopped)

    with caplog.at_level(logging.CRITICAL, logger="shieldx.ledger.leadership"):
        # Between two looks, so that news of its end and the next look are there at once.
        asyncio.get_running_loop().call_later(LOOK_SECONDS / 2, stop_while_ended, dsn)
        before = stopped.takeovers
        async with asyncio.timeout(60):
            while stopped.takeovers == before:  # noqa: ASYNC110 - nobody rings.
                await asyncio.sleep(0.05)

    await leads(stopped)


async def test_a_reader_whose_session_was_ended_is_told_that_postgres_was_away(dsn: str) -> None:
    pool = Pool(dsn)
    one = [{"one": 1}]
    assert await pool.fetch("select 1 as one") == one

    asyncio.get_running_loop().call_later(LOOK_SECONDS / 2, stop_while_ended, dsn)
    await asyncio.sleep(LOOK_SECONDS)

    with pytest.raises(ShardUnavailableError):
        await pool.fetch("select 1 as one")
    assert await pool.fetch("select 1 as one") == one
    await pool.close()


async def test_a_holder_that_only_its_session_remembers_is_ended(
    leaders: tuple[Leadership, Leadership], dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    stopped, _ = leaders
    await stopped._try()
    ledger = Ledger.open(dsn, "s0", Peers(Nowhere(), "b:2"))
    await ledger.start()
    writer = ledger.writer
    assert writer is not None
    codes: list[str] = []
    answered = asyncio.Event()

    def done(answers: Sequence[Answer]) -> None:
        codes.extend(answer.code for answer in answers)
        answered.set()

    job = Job("shop", [OpenAccount(id="a")], ["key"], atomic=False, done=done)

    with caplog.at_level(logging.CRITICAL, logger="shieldx.ledger"):
        roles = [writer.role]
        ledger.submit(job)
        await answered.wait()
        roles.append(writer.role)
        await leads(writer.leadership)
        roles.append(writer.role)

    assert codes == ["created"]
    assert roles == [Role.RELAY, Role.GUARD, Role.WRITER]
    await ledger.close()


async def test_a_slow_commit_does_not_keep_the_shard_without_a_writer(
    leaders: tuple[Leadership, Leadership], dsn: str
) -> None:
    first, _ = leaders
    connection = await asyncpg.connect(dsn)
    await connection.execute(BUSY_DISK)
    await connection.close()

    await first.start()
    await leads(first)

    assert first.takeovers == 1
