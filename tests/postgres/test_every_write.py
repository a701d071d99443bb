"""What holds for every call that writes, whatever it writes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.support.api import Client, Response, Service

pytestmark = pytest.mark.postgres


@dataclass(frozen=True)
class Write:
    """A call, and another body or path under the same key, which differs in a field."""

    method: str
    path: str
    body: Any
    other: tuple[str, Any]
    field: str

    async def send(self, client: Client, key: str, query: str = "") -> Response:
        return await client.call(self.method, self.path + query, self.body, key=key)

    async def send_other(self, client: Client, key: str) -> Response:
        path, body = self.other
        return await client.call(self.method, path, body, key=key)


async def writes(client: Client) -> dict[str, Write]:
    """Make what can be written to, and return every kind of write."""
    await client.account("a", 1000)
    await client.account("b")
    account = "/v1/accounts/a"

    async def made(path: str, body: Any) -> str:
        return str((await client.post(path, body)).body["id"])

    grants = [await made(f"{account}/grants", {"amount": 5}) for _ in range(2)]
    holds = [await made("/v1/holds", {"account": "a", "amount": 9}) for _ in range(4)]
    paid = [await made(f"{account}/consume", {"amount": 1}) for _ in range(2)]
    move = {"debit": "a", "credit": "b", "amount": 1}
    step = {"type": "transfer", **move}
    more = {**move, "amount": 2}
    commit = {"amount": 2, "final": False}
    simple: dict[str, tuple[str, str, Any, Any, str]] = {
        "open": ("POST", "/v1/accounts", {"id": "c"}, {"id": "d"}, "id"),
        "change": ("PATCH", account, {"metadata": {"x": 1}}, {"metadata": {"x": 2}}, "metadata"),
        "transfer": ("POST", "/v1/transfers", move, more, "amount"),
        "consume": ("POST", f"{account}/consume", {"amount": 1}, {"amount": 2}, "amount"),
        "refill": ("POST", f"{account}/refill", {"amount": 1}, {"amount": 2}, "amount"),
        "grant": ("POST", f"{account}/grants", {"amount": 1}, {"amount": 2}, "amount"),
        "reserve": (
            "POST",
            "/v1/holds",
            {"account": "a", "amount": 1},
            {"account": "a", "amount": 2},
            "amount",
        ),
        "commit": ("POST", f"/v1/holds/{holds[0]}/commit", commit, {"amount": 2}, "final"),
        "alert": (
            "PUT",
            f"{account}/alerts",
            {"available_below": 5},
            {"available_below": 6},
            "available_below",
        ),
        "note": (
            "POST",
            "/v1/notes",
            {"kind": "run", "digest": "ab" * 32},
            {"kind": "run", "digest": "cd" * 32},
            "digest",
        ),
        "batch": (
            "POST",
            "/v1/batch",
            {"atomic": True, "operations": [step, step]},
            {"atomic": True, "operations": [step, {**step, "amount": 2}]},
            "operations",
        ),
    }
    found = {
        name: Write(method, path, body, (path, other), field)
        for name, (method, path, body, other, field) in simple.items()
    }
    of_something = {
        "void": ("POST", [f"/v1/holds/{hold}/void" for hold in holds[1:3]], "hold"),
        "reverse": ("POST", [f"/v1/transfers/{one}/reverse" for one in paid], "transfer"),
        "void_grant": ("DELETE", [f"{account}/grants/{grant}" for grant in grants], "grant"),
    }
    return found | {
        name: Write(method, paths[0], None, (paths[1], None), field)
        for name, (method, paths, field) in of_something.items()
    }


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with Service(dsn) as service, service.client() as client:
        yield client


async def position(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    found = await connection.fetchval("select position from head")
    await connection.close()
    return int(found)


async def test_a_dry_run_does_nothing_and_burns_no_key(client: Client, dsn: str) -> None:
    for name, write in (await writes(client)).items():
        before = await position(dsn)

        rehearsed = await write.send(client, name, "?dry_run=true")

        assert await position(dsn) == before, name
        done = await write.send(client, name)
        assert rehearsed.status == done.status, name
        assert done.status in {200, 201}, name
        assert "idempotency-replayed" not in done.fields, name
        assert await position(dsn) > before, name
        assert set(rehearsed.body) >= set(done.body) - {"receipt", "seq"}, name


async def test_a_key_is_replayed_and_is_not_another_operations(client: Client, dsn: str) -> None:
    for name, write in (await writes(client)).items():
        first = await write.send(client, name)
        after = await position(dsn)

        again, other = await write.send(client, name), await write.send_other(client, name)

        assert (again.status, again.payload) == (first.status, first.payload), name
        assert again.fields["idempotency-replayed"] == "true", name
        assert (other.status, other.code) == (422, "idempotency_key_reused"), name
        told = other.body.get("results", [other.body])
        assert {one["field"] for one in told} == {write.field}, name
        assert await position(dsn) == after, name


async def test_a_key_of_one_kind_of_write_is_not_anothers(client: Client, dsn: str) -> None:
    await client.account("z", 5)
    await client.consume("z", 1, "k")
    every = await writes(client)
    before = await position(dsn)

    for name, write in every.items():
        refused = await write.send(client, "k")
        assert (refused.status, refused.code) == (422, "idempotency_key_reused"), name

    assert await position(dsn) == before


async def test_every_call_that_writes_is_here(client: Client) -> None:
    every = await writes(client)
    document = (await client.get("/openapi.json")).body

    promised = sum(
        method in {"post", "put", "patch", "delete"}
        for calls in document["paths"].values()
        for method in calls
    )
    assert promised == len(every)
