"""What the app is told about an API that cannot be reached."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shieldx.sidecar.relay import front
from tests.support.relay import Relaying


@pytest.fixture
def unreachable() -> Iterator[int]:
    """A port where connecting takes for ever: nobody accepts, and the queue is full."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()[1]


async def test_what_never_had_a_connection_is_known_not_to_be_done(
    tmp_path: Path, unreachable: int
) -> None:
    async with (
        Relaying(unreachable, tmp_path, deadline_seconds=0.3) as relay,
        relay.client() as client,
    ):
        paid = await client.consume("a", 1)
        batch = await client.post("/v1/batch", {"atomic": True, "operations": []})
        seen = await client.get("/v1/accounts/a/balance")
        ready = await client.get("/ready")

    assert [one.status for one in (paid, batch, seen)] == [503] * 3
    assert [one.code for one in (paid, batch, seen)] == ["shard_unavailable"] * 3
    assert {one.fields["retry-after"] for one in (paid, batch, seen)} == {"1"}
    assert ready.status == 200


@pytest.mark.parametrize(("bound", "room"), [("MOST_IN_FLIGHT", 3), ("MOST_BYTES", 3 * 60)])
async def test_more_than_there_is_room_for_is_shed_and_room_comes_back(
    tmp_path: Path, unreachable: int, monkeypatch: pytest.MonkeyPatch, bound: str, room: int
) -> None:
    body = {"amount": 1, "reference": "x" * (60 - len('{"amount": 1, "reference": ""}'))}
    async with (
        Relaying(unreachable, tmp_path, deadline_seconds=0.3) as relay,
        relay.client() as client,
    ):
        monkeypatch.setattr(front, bound, room)
        # In one piece, so that they are there at the same moment.
        every = [client.request("POST", "/v1/accounts/a/consume", body) for _ in range(5)]
        client.writer.write(b"".join(every))
        told = [await client.response() for _ in every]
        later = await client.post("/v1/accounts/a/consume", body)

    assert [one.code for one in told] == ["shard_unavailable"] * 3 + ["overloaded"] * 2
    assert {one.fields["retry-after"] for one in told} == {"1"}
    assert later.code == "shard_unavailable"
