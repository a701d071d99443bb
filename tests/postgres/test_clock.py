"""A clock that is set back: the ledger's time stands still meanwhile, and it is told."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from shieldx.keeper.clock import ClockWatch
from shieldx.keeper.expiry import Expiry
from shieldx.keeper.metrics import KeeperMetrics, exposition
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.model import MICROSECONDS, Request, decide
from shieldx.ledger.operations import OpenAccount
from shieldx.ledger.postgres import Shard, StaleError
from shieldx.ledger.rows import rows_of
from shieldx.ledger.verify import verify
from tests.support.api import Service
from tests.support.loading import known

pytestmark = pytest.mark.postgres

SETTABLE = """
create table clock_set (seconds bigint not null);
insert into clock_set values (0);
create or replace function clock_microseconds() returns bigint language sql volatile as $$
select (extract(epoch from clock_timestamp()) * 1000000)::bigint + seconds * 1000000 from clock_set
$$;
"""


@dataclass
class Clock:
    """The database's clock, which can be set."""

    connection: asyncpg.Connection

    async def set(self, seconds: int) -> None:
        await self.connection.execute("update clock_set set seconds = $1", seconds)


@pytest.fixture
async def clock(dsn: str) -> AsyncIterator[Clock]:
    await Ledger.open(dsn, "s0").migrate()
    connection = await asyncpg.connect(dsn)
    await connection.execute(SETTABLE)
    yield Clock(connection)
    await connection.close()


async def test_time_stands_still_and_every_write_is_done(clock: Clock, dsn: str) -> None:
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", 10)
    await clock.set(-3600)

    async with Service(dsn) as service, service.client() as client:
        times = [(await client.consume("a", 1)).body["at"] for _ in range(2)]
        balance = await client.balance("a")

    assert times[0] == times[1]
    assert balance == (8, 0, 8)
    assert (await verify(dsn)).problem is None


async def test_it_is_told_once_and_when_it_is_over(
    clock: Clock, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shieldx.keeper.clock")
    async with Service(dsn) as service, service.client() as client:
        await client.account("a")
        reads = service.process.ledger.reads
        watch = ClockWatch(reads.clock_behind)
        metrics = exposition(KeeperMetrics(Expiry(reads.due_accounts, lambda _: None), watch))

        levels = []
        for seconds in (0, -3600, -3600, 0):
            await clock.set(seconds)
            await watch.once()
            levels.append([record.levelname for record in caplog.records])
            if seconds:
                assert 3590 < watch.behind_seconds <= 3600
                assert b"shieldx_keeper_clock_behind_seconds 35" in metrics()

    assert levels == [[], ["ERROR"], ["ERROR"], ["ERROR", "INFO"]]
    assert "3600 s" in caplog.messages[0] or "359" in caplog.messages[0]


@pytest.mark.parametrize("ahead", [-1, 2 * MICROSECONDS])
async def test_what_is_dated_out_of_line_is_not_stored(clock: Clock, dsn: str, ahead: int) -> None:
    shard = await Shard.open(dsn, "s0")
    opened = Request("me", [OpenAccount(id="a")], ["k"])
    state = await known(shard, "a")
    now: int = await clock.connection.fetchval("select clock_microseconds()")
    await clock.connection.execute("update head set at = $1", now)
    _, changes = decide(state, [opened], now + ahead)

    with pytest.raises(StaleError, match="out of line"):
        await shard.store(rows_of(state, changes))

    await shard.close()
