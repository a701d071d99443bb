"""Webhooks of the keeper, with a real receiver and a real Postgres: at least once, in order."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from shieldx.keeper import webhooks
from shieldx.keeper.main import Options, StartError, keep
from shieldx.ledger.steps import VARIABLE
from tests.support.api import Client, Reviewer, Service
from tests.support.ports import free_port
from tests.support.receiver import SECRET, Receiver

pytestmark = pytest.mark.postgres

KEEPER = """
import asyncio, json, os
from pathlib import Path
from shieldx.keeper import webhooks
from shieldx.keeper.main import Options, keep

webhooks.FIRST_WAIT_SECONDS = 0.05
webhooks.LOOK_SECONDS = 0.02
webhooks.PAGE = 7
folder = Path(os.environ["FOLDER"])
options = Options(
    dsn_file=folder / "dsn",
    config=folder / "config.json",
    operator="ns:operator",
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    webhooks=folder / "webhooks.json",
)
asyncio.run(keep(options, None, asyncio.Event()))
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(webhooks, "LOOK_SECONDS", 0.02)


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with Service(dsn) as service, service.client() as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def configured(dsn: str, folder: Path, *urls: str, secret: str | None = SECRET) -> Options:
    """Write what the operator would mount."""
    (folder / "dsn").write_text(f"{dsn}\n")
    (folder / "config.json").write_text(json.dumps({"ledger": "t/c", "shard": "s0"}))
    if secret is not None:
        (folder / "secret").write_text(secret)
    hooks = [{"url": url, "secretFile": str(folder / "secret")} for url in urls]
    (folder / "webhooks.json").write_text(json.dumps(hooks))
    return Options(
        dsn_file=folder / "dsn",
        config=folder / "config.json",
        operator="ns:operator",
        host="127.0.0.1",
        port=free_port(),
        metrics_port=free_port(),
        webhooks=folder / "webhooks.json",
    )


class Keeping:
    """A keeper in this process, as long as the block lasts."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(keep(self.options, Reviewer(), self._stopped))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        await self._task

    async def metrics(self) -> str:
        async with Client(self.options.metrics_port or 0) as client:
            return (await client.get("/metrics")).payload.decode()


async def work(client: Client, count: int) -> list[str]:
    """Do things that make `count` events, with a refusal after each; return all ids so far."""
    if not (await client.get("/v1/accounts?prefix=w")).body["items"]:
        await client.account("w", 1000)
        count -= 2
    for _ in range(count):
        await client.consume("w", 1)
        await client.consume("w", 10_000)
    found = (await client.get("/v1/events?limit=1000")).body["items"]
    return [event["id"] for event in found]


async def test_a_webhook_gets_every_event_in_order_and_signed(
    dsn: str, client: Client, receiver: Receiver, tmp_path: Path
) -> None:
    await work(client, 30)
    async with Keeping(configured(dsn, tmp_path, receiver.url)) as keeping:
        await receiver.until(30)
        ids = await work(client, 20)
        await receiver.until(50)
        told = await keeping.metrics()

    assert [event["id"] for page in receiver.pages for event in page] == ids
    told_here = (await client.get("/v1/events?limit=1000")).body["items"]
    for here, there in zip(told_here, itertools.chain(*receiver.pages), strict=True):
        assert here["data"] == there["data"]
        assert there["source"] == "urn:shieldx:ledger:t/c"
    assert receiver.forged == 0
    name = receiver.url.partition("?")[0]
    assert f'shieldx_keeper_events_delivered_total{{webhook="{name}"}} 50.0' in told
    assert "hush" not in told


async def test_what_is_not_accepted_is_told_again_and_nothing_is_passed_over(
    dsn: str, client: Client, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([500, 302, 404, 429, 204, 503])

    async def answer(_: list[dict[str, Any]]) -> int:
        return next(answers, 204)

    receiver.answer = answer
    ids = await work(client, 10)
    async with Keeping(configured(dsn, tmp_path, receiver.url)) as keeping:
        await receiver.until(10)
        ids = await work(client, 10)
        await receiver.until(20)
        told = await keeping.metrics()

    assert [event["id"] for page in receiver.accepted for event in page] == ids
    assert [len(page) for page in receiver.pages[:5]] == [10] * 5
    name = receiver.url.partition("?")[0]
    assert f'shieldx_keeper_delivery_failures_total{{webhook="{name}"}} 5.0' in told
    warnings = [record.getMessage() for record in caplog.records if "Webhook" in record.message]
    assert f"Webhook {name} does not accept events: it answered 500" in warnings
    assert not any("hush" in one for one in warnings)


async def test_a_webhook_that_is_down_or_hangs_delays_nobody(
    dsn: str,
    client: Client,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.3)
    async with Receiver() as hanging:

        async def hang(_: list[dict[str, Any]]) -> int:
            await asyncio.sleep(2)
            return 500

        hanging.answer = hang
        down = "http://127.0.0.1:1/hook"
        options = configured(dsn, tmp_path, hanging.url, down, receiver.url)
        await work(client, 5)
        body = {"account": "w", "amount": 4, "timeout_seconds": 1}
        await client.post("/v1/holds", body)
        async with Keeping(options) as keeping:
            await receiver.until(7)  # the hold, and its expiry by the keeper, among them
            async with asyncio.timeout(60):
                while len(hanging.pages) < 2:  # noqa: ASYNC110 — the other end
                    await asyncio.sleep(0.02)
            told = await keeping.metrics()

    assert 'shieldx_keeper_delivery_lag_entries{webhook="http://127.0.0.1:1/hook"}' in told
    assert not hanging.accepted


async def test_a_secret_is_needed_and_can_be_changed_without_a_restart(
    dsn: str, client: Client, receiver: Receiver, tmp_path: Path
) -> None:
    options = configured(dsn, tmp_path, receiver.url, secret=None)
    await work(client, 5)
    async with Keeping(options):
        await asyncio.sleep(0.5)
        assert not receiver.pages
        (tmp_path / "secret").write_text("not a secret")
        await asyncio.sleep(0.5)
        assert not receiver.pages
        (tmp_path / "secret").write_text(f"whsec_{'b' * 32}\n{SECRET}\n")
        await receiver.until(5)

    assert receiver.forged == 0


async def test_a_list_of_webhooks_that_cannot_be_read_is_told(dsn: str, tmp_path: Path) -> None:
    options = configured(dsn, tmp_path)
    (tmp_path / "webhooks.json").write_text('[{"url": "http://a/"}]')

    with pytest.raises(StartError, match="secretFile"):
        await keep(options, Reviewer(), asyncio.Event())


@contextmanager
def process(options: Options, folder: Path, step: str = "") -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "FOLDER": str(folder),
        "PORT": str(options.port),
        VARIABLE: step,
    }
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER], stderr=subprocess.DEVNULL, env=environment
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("step", ["events-read", "events-accepted", "events-noted"])
async def test_a_keeper_killed_at_any_step_tells_again_and_skips_nothing(
    dsn: str, client: Client, receiver: Receiver, tmp_path: Path, step: str
) -> None:
    ids = await work(client, 30)
    options = configured(dsn, tmp_path, receiver.url)

    with process(options, tmp_path, f"{step}:2") as dying:
        assert await asyncio.to_thread(dying.wait, 60) == -signal.SIGKILL
    before = [event["id"] for page in receiver.accepted for event in page]
    with process(options, tmp_path):
        await receiver.until(30)
        await asyncio.sleep(0.2)

    told = [event["id"] for page in receiver.accepted for event in page]
    assert receiver.first_told() == ids
    assert 0 < len(before) < 30
    twice = len(told) - len(ids)
    # Only what was accepted and not noted is told twice.
    assert (twice > 0) == (step == "events-accepted")


async def test_a_keeper_killed_while_a_webhook_thinks_tells_again(
    dsn: str, client: Client, receiver: Receiver, tmp_path: Path
) -> None:
    ids = await work(client, 20)
    options = configured(dsn, tmp_path, receiver.url)
    asked, dead = asyncio.Event(), asyncio.Event()

    async def think(_: list[dict[str, Any]]) -> int:
        asked.set()
        await dead.wait()
        return 204

    receiver.answer = think
    for _ in range(3):
        asked.clear()
        dead.clear()
        with process(options, tmp_path) as running:
            async with asyncio.timeout(60):
                await asked.wait()
            running.kill()
            assert await asyncio.to_thread(running.wait, 60) == -signal.SIGKILL
        dead.set()
    with process(options, tmp_path):
        await receiver.until(20)

    assert receiver.first_told() == ids
