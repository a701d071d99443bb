"""More than can be done: refused early, in bounded memory, and nothing accepted is forgotten."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from shieldx.ledger.verify import verify
from tests.postgres.test_api_process import API, running
from tests.support.api import Client, fresh_key
from tests.support.proxy import proxied

pytestmark = pytest.mark.postgres

MIB = 1024 * 1024
CLIENTS, REQUESTS, PADDING = 40, 8, 500_000  # more than twice what there is room for


def resident_bytes(process_id: int) -> int:
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def request(client: Client, key: str) -> bytes:
    """A consume of one credit, made large by spaces."""
    small = client.request("POST", "/v1/accounts/a/consume", {"amount": 1}, key=key)
    head, _, body = small.partition(b"\r\n\r\n")
    head = head.replace(b"Content-Length: 13", b"Content-Length: %d" % (len(body) + PADDING))
    return head + b"\r\n\r\n" + body + b" " * PADDING


async def besiege(port: int, answers: dict[str, str]) -> None:
    """Send everything at once, then read every answer there is."""
    async with Client(port) as client:
        keys = [fresh_key() for _ in range(REQUESTS)]
        for key in keys:
            client.writer.write(request(client, key))
        for key in keys:
            response = await client.response()
            answers[key] = "created" if response.status == 201 else response.code
            if response.fields.get("connection") == "close":
                assert response.code == "overloaded"
                return


async def test_a_slow_postgres_does_not_make_memory_grow(dsn: str) -> None:
    answers: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with proxied(dsn, Path(folder)) as (through, door):
            # The program is told a line at a time: in a thread, since the door is in this loop.
            server = running("-c", API, dsn=through)
            process, port = await asyncio.to_thread(server.__enter__)
            try:
                async with Client(port) as client:
                    await client.account("a", 1_000_000)
                    await client.consume("a", 1)
                before = resident_bytes(process.pid)
                door.through.clear()
                clients = [asyncio.create_task(besiege(port, answers)) for _ in range(CLIENTS)]
                most = before
                for _ in range(30):
                    await asyncio.sleep(0.1)
                    most = max(most, resident_bytes(process.pid))
                door.through.set()
                await asyncio.gather(*clients)
                async with Client(port) as client:
                    for key in [k for k, code in answers.items() if code == "outcome_unknown"]:
                        assert (await client.consume("a", 1, key)).status == 201
                        answers[key] = "created"
                    balance = (await client.balance("a"))[0]
            finally:
                await asyncio.to_thread(server.__exit__, None, None, None)

    codes = Counter(answers.values())
    assert set(codes) <= {"created", "overloaded", "shard_unavailable"}
    assert {"created", "overloaded"} <= set(codes)
    assert balance == 999_999 - codes["created"]
    assert most - before < 110 * MIB
    async with asyncio.timeout(60):
        assert (await verify(dsn)).problem is None
