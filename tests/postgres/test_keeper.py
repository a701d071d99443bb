"""The keeper on a real Postgres: holds expire untouched, and only the operator is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shieldx.keeper.main import Options, StartError, keep
from shieldx.ledger.verify import verify
from tests.support.api import Client, Response, Reviewer, Service
from tests.support.ports import free_port

pytestmark = pytest.mark.postgres

HELD = "select held from accounts where id = 'a'"


@pytest.fixture
def options(dsn: str, tmp_path: Path) -> Options:
    (tmp_path / "dsn").write_text(f"{dsn}\n")
    (tmp_path / "config.json").write_text(json.dumps({"ledger": "t/c", "shard": "s0"}))
    return Options(
        dsn_file=tmp_path / "dsn",
        config=tmp_path / "config.json",
        operator="shieldx-system:operator",
        host="127.0.0.1",
        port=free_port(),
        metrics_port=free_port(),
    )


@pytest.fixture
async def keeper(options: Options) -> AsyncIterator[Options]:
    stopped = asyncio.Event()
    keeping = asyncio.create_task(keep(options, Reviewer(), stopped))
    async with asyncio.timeout(60):
        while (await asked(options.metrics_port or 0, "/ready")) != 200:  # noqa: ASYNC110 — a port
            await asyncio.sleep(0.05)
    yield options
    stopped.set()
    await keeping


async def asked(port: int, path: str) -> int:
    try:
        async with Client(port) as client:
            return (await client.get(path)).status
    except OSError:
        return 0


async def status(port: int, token: str | None) -> Response:
    async with Client(port, token) as client:
        return await client.get("/status")


async def test_a_hold_that_nobody_touches_expires(dsn: str, keeper: Options) -> None:
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", 10)
        body = {"account": "a", "amount": 4, "timeout_seconds": 1}
        await client.post("/v1/holds", body)

        connection = await asyncpg.connect(dsn)
        async with asyncio.timeout(30):
            while await connection.fetchval(HELD):  # noqa: ASYNC110 — a row
                await asyncio.sleep(0.1)
        await connection.close()

    told: dict[str, Any] = (await status(keeper.port, "shieldx-system/operator")).body
    assert told["open_holds"] == 0
    assert (await verify(dsn)).problem is None


async def test_only_the_operator_is_told_the_status(keeper: Options) -> None:
    told = await status(keeper.port, "shieldx-system/operator")
    assert told.status == 200
    assert set(told.body) == {"position", "seq", "hash", "open_holds", "time", "schema_version"}

    for token, expected in (
        (None, 401),
        ("forged", 401),
        ("shop/operator", 403),
        ("shieldx-system/other", 403),
    ):
        assert (await status(keeper.port, token)).status == expected
    assert await asked(keeper.metrics_port or 0, "/status") == 404


async def test_probes_and_metrics_are_on_both_ports(keeper: Options) -> None:
    for port in (keeper.port, keeper.metrics_port or 0):
        for path in ("/health", "/ready", "/metrics"):
            assert await asked(port, path) == 200


async def test_a_keeper_is_not_ready_without_its_database(options: Options) -> None:
    options.dsn_file.write_text("postgresql://nobody@127.0.0.1:1/nothing")
    stopped = asyncio.Event()
    keeping = asyncio.create_task(keep(options, Reviewer(), stopped))
    async with asyncio.timeout(30):
        while await asked(options.port, "/health") != 200:  # noqa: ASYNC110 — a port
            await asyncio.sleep(0.05)

    assert await asked(options.port, "/ready") == 503
    stopped.set()
    await keeping


async def test_the_operator_is_named_in_full(options: Options) -> None:
    for operator in ("", "operator", "ns:", ":name"):
        mistaken = Options(options.dsn_file, options.config, operator)
        with pytest.raises(StartError, match="NAMESPACE:NAME"):
            await keep(mistaken, Reviewer(), asyncio.Event())
