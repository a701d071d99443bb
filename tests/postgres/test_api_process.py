"""The server under load and under attack: order, limits, and an end that loses nothing."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shieldx.ledger.verify import verify
from shieldx.sidecar.limits import Limits
from tests.support.api import Client, Service, fresh_key
from tests.support.load import Load, path

pytestmark = pytest.mark.postgres

CREDITS = 1_000_000
API = """
import asyncio, os, sys
from shieldx.sidecar.auth import NoTokens
from shieldx.sidecar.config import Config
from shieldx.sidecar.main import Process

async def main():
    process = Process(os.environ["DSN"], Config(ledger="test/credits"), NoTokens())
    await process.serve(asyncio.Event(), host="127.0.0.1", port=0, metrics=("127.0.0.1", None))

asyncio.run(main())
"""


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[Service]:
    async with Service(dsn) as service:
        async with service.client() as client:
            await client.account("a", CREDITS)
        yield service


@contextmanager
def running(*command: str, dsn: str = "") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server of its own process, and say on which port it listens."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "KUBECONFIG": "/nowhere",
        "DSN": dsn,
    }
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("ShieldX ledger on http://127.0.0.1:"), said
        try:
            yield process, int(said.split()[3].rpartition(":")[2])
        finally:
            process.kill()


async def ended(process: subprocess.Popen[str]) -> int:
    return await asyncio.to_thread(process.wait, 60)


async def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    async with service.client() as client:
        amounts = [*range(1, 41)]
        client.writer.write(
            b"".join(
                client.request("POST", path("a"), {"amount": amount})
                + client.request("GET", "/v1/accounts/a/balance")
                for amount in amounts
            )
        )

        answers = [await client.response() for _ in range(2 * len(amounts))]

    assert [one.body["amount"] for one in answers[::2]] == amounts
    assert all("as_of" in one.body for one in answers[1::2])


async def test_an_answer_outlives_the_half_closed_connection(service: Service) -> None:
    async with service.client() as client:
        client.writer.write(client.request("POST", path("a"), {"amount": 1}))
        client.writer.write_eof()

        assert (await client.response()).status == 201
        assert await client.reader.read() == b""


async def test_a_client_that_vanishes_harms_nobody(service: Service) -> None:
    key = fresh_key()
    async with service.client() as client:
        client.writer.write(client.request("POST", path("a"), {"amount": 1}, key=key))
        await client.writer.drain()
        client.writer.transport.abort()

    async with service.client() as client:
        again = await client.consume("a", 1, key)
        assert again.status == 201
        assert (await client.balance("a"))[0] == CREDITS - 1


async def test_an_oversized_body_is_refused_with_an_answer(service: Service) -> None:
    async with service.client() as client:
        client.writer.write(b"POST /v1/transfers HTTP/1.1\r\nHost: x\r\n")
        client.writer.write(b"Content-Length: 2000000\r\n\r\n" + b"x" * 500_000)

        refused = await client.response()

    assert (refused.status, refused.code) == (413, "body_too_large")
    assert refused.fields["connection"] == "close"


async def test_a_slow_client_is_cut_off_while_others_are_served(dsn: str) -> None:
    limits = Limits(request_seconds=0.3, sweep_seconds=0.05)
    async with Service(dsn, limits=limits) as service, service.client() as slow:
        slow.writer.write(b"POST /v1/transfers HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        async with service.client() as client:
            assert (await client.get("/health")).status == 200

        assert (await slow.response()).status == 408
        assert await slow.reader.read() == b""


def consume(amount: int, key: str) -> dict[str, object]:
    return {"type": "consume", "account": "a", "amount": amount, "idempotency_key": key}


async def test_a_batch_of_a_thousand_is_one_answer(service: Service) -> None:
    operations = [consume(1 + number % 7, f"k{number}") for number in range(1000)]
    async with service.client() as client:
        answer = await client.post("/v1/batch", {"operations": operations})
        too_many = await client.post("/v1/batch", {"operations": [*operations, operations[0]]})
        balance = await client.balance("a")

    results = answer.body["results"]
    assert [one["amount"] for one in results] == [one["amount"] for one in operations]
    assert [one["seq"] for one in results] == sorted(one["seq"] for one in results)
    assert {one["status"] for one in results} == {201}
    assert (too_many.status, too_many.code) == (413, "too_many_operations")
    assert balance[0] == CREDITS - sum(1 + number % 7 for number in range(1000))


async def test_replays_in_a_large_batch_are_told_by_their_places(service: Service) -> None:
    async with service.client() as client:
        known = [consume(1, f"k{number}") for number in (3, 400, 999)]
        await client.post("/v1/batch", {"operations": known})
        operations = [consume(1, f"k{number}") for number in range(1000)]
        answer = await client.post("/v1/batch", {"operations": operations})

    assert {one["status"] for one in answer.body["results"]} == {201}
    assert answer.fields["idempotency-replayed-operations"] == "3,400,999"


async def test_stopping_under_load_answers_everything_accepted(dsn: str) -> None:
    service = Service(dsn)
    async with service:
        async with service.client() as client:
            await client.account("a", CREDITS)
        async with Load(lambda: service.port, "a", clients=16, leave=True) as load:
            await load.until(300)
            stopping = asyncio.create_task(service.process.stop(drain_seconds=0.3))
            await asyncio.sleep(0.1)
            async with service.client() as probe:
                unready = await probe.get("/ready")
            assert await stopping == 0
            await load.stop()

    assert (unready.status, unready.code) == (503, "not_ready")
    assert unready.fields["connection"] == "close"
    assert load.unanswered == set()
    assert set(load.statuses) == {201}
    report = await verify(dsn)
    assert report.problem is None
    assert report.transfers == load.statuses[201] + 1


async def test_sigterm_under_load_loses_no_request_and_exits_with_0(
    tmp_path: Path, free_port: int
) -> None:
    command = (
        "-m",
        "shieldx",
        "sidecar",
        "--embedded",
        f"--data={tmp_path}/d",
        f"--port={free_port}",
    )
    with running(*command) as (process, port):
        async with Client(port) as client:
            await client.account("a", CREDITS)
        async with Load(lambda: port, "a", leave=True) as load:
            await load.until(200)
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 0
            await load.stop()
    assert load.unanswered == set()
    assert set(load.statuses) == {201}

    with running(*command) as (process, port):
        async with Client(port) as client:
            assert (await client.balance("a"))[0] == CREDITS - load.statuses[201]
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0


async def test_a_killed_server_loses_and_doubles_nothing(tmp_path: Path, free_port: int) -> None:
    command = (
        "-m",
        "shieldx",
        "sidecar",
        "--embedded",
        f"--data={tmp_path}/d",
        f"--port={free_port}",
    )
    with running(*command) as (process, port):
        async with Client(port) as client:
            await client.account("a", CREDITS)
        load = Load(lambda: free_port, "a")
        async with load:
            await load.until(200)
            process.kill()
            await ended(process)
            with running(*command):
                before = len(load.answers)
                await load.until(before + 100)
                await load.stop()
                await load.settle()
                async with Client(free_port) as client:
                    balance = await client.balance("a")

    assert set(load.statuses) == {201}
    assert balance[0] == CREDITS - len(load.answers)


async def test_two_processes_on_one_database_lose_and_double_nothing(dsn: str) -> None:
    with running("-c", API, dsn=dsn) as (_, one), running("-c", API, dsn=dsn) as (_, other):
        async with Client(one) as client:
            await client.account("a", CREDITS)
        async with Load(lambda: one, "a", 4) as first, Load(lambda: other, "a", 4) as second:
            await first.until(100)
            await second.until(100)
            await first.stop()
            await second.stop()
        keys = [*first.answers, *second.answers]
        async with Client(one) as here, Client(other) as there:
            for key in keys[::20]:
                answers = [await client.consume("a", 1, key) for client in (here, there)]
                assert answers[0].body == answers[1].body
                assert all(one.fields["idempotency-replayed"] == "true" for one in answers)
            balance = await there.balance("a")

    assert set(first.statuses) | set(second.statuses) == {201}
    assert balance[0] == CREDITS - len(keys)
    assert (await verify(dsn)).problem is None


async def test_a_deployed_server_lets_nobody_in_without_a_cluster(
    dsn: str, tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "dsn").write_text(dsn)
    (tmp_path / "config.json").write_text('{"ledger": "shop/credits"}')
    command = (
        *("-m", "shieldx", "sidecar", "--host=127.0.0.1", f"--port={free_port}"),
        *(f"--dsn-file={tmp_path}/dsn", f"--config={tmp_path}/config.json", "--drain-seconds=0.2"),
    )
    with running(*command) as (process, port):
        async with Client(port) as client:
            assert (await client.get("/ready")).status == 200
            assert (await client.consume("a", 1)).status == 401
        async with Client(port, "token") as client:
            refused = await client.consume("a", 1)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0

    assert (refused.status, refused.code) == (503, "authentication_unavailable")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--dsn-file"),
        (("--embedded",), "--data"),
        (("--embedded", "--data=/x", "--dsn-file=/x"), "--embedded takes"),
        (("--dsn-file=/nowhere", "--config=/nowhere"), "/nowhere"),
    ],
)
async def test_a_mistaken_command_line_is_explained(arguments: tuple[str, ...], said: str) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shieldx", "sidecar", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        )

    done = await asyncio.to_thread(run)

    assert done.returncode == 2
    assert said in done.stderr


async def test_a_port_that_is_taken_is_explained(tmp_path: Path, service: Service) -> None:
    command = ("-m", "shieldx", "sidecar", "--embedded", f"--data={tmp_path}/d")

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command, f"--port={service.port}"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    done = await asyncio.to_thread(run)

    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{service.port}" in done.stderr


async def test_more_than_can_be_answered_in_time_is_shed(dsn: str) -> None:
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", CREDITS)
        service.process.api = service.process.make_api(most_in_flight=5)
        client.writer.write(
            b"".join(client.request("POST", path("a"), {"amount": 1}) for _ in range(20))
        )

        statuses = [(await client.response()).status for _ in range(20)]
        after = await client.consume("a", 1)

    assert statuses == [201] * 5 + [503] * 15
    assert after.status == 201


async def test_a_database_that_is_away_is_said_and_waited_for(tmp_path: Path) -> None:
    service = Service(f"postgresql://shieldx@/ledger?host={tmp_path}")
    starting = asyncio.create_task(service.process.start(asyncio.Event()))
    port = await service.process.server.listen("127.0.0.1", 0)
    async with Client(port) as client:
        assert (await client.get("/health")).status == 200
        assert (await client.get("/ready")).status == 503
        refused = await client.consume("a", 1)
    starting.cancel()
    await service.process.server.close()

    assert (refused.status, refused.code) == (503, "shard_unavailable")
    assert refused.fields["retry-after"] == "1"
