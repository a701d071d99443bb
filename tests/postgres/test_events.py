"""Events as readers get them: whole, in order, resumable, waited for, and only one's own."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from shieldx.sidecar import events, wire_answers
from shieldx.sidecar.config import Auth, Config, ServiceAccount
from shieldx.sidecar.scopes import Scope
from tests.support.api import Client, Service

pytestmark = pytest.mark.postgres

TYPE = "io.shieldx.ledger."


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[Service]:
    callers = [
        ServiceAccount("ns", "all", list(Scope)),
        ServiceAccount("ns", "a", [Scope.READ, Scope.WRITE], ["a/"]),
        ServiceAccount("ns", "writer", [Scope.WRITE]),
    ]
    config = Config(ledger="test/credits", auth=Auth(service_accounts=callers))
    async with Service(dsn, config=config) as service:
        yield service


async def told(client: Client, query: str = "limit=2") -> list[dict[str, Any]]:
    """Read all events that there are, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await client.get(f"/v1/events?{query}{cursor}")
        assert page.status == 200, page
        msgspec.convert(page.body, wire_answers.EventPage)
        if not page.body["items"]:
            return found
        found += page.body["items"]
        cursor = f"&cursor={page.body['next']}"


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix(TYPE) for event in found]


async def test_everything_that_changed_is_told_in_order(service: Service) -> None:
    async with service.client("ns/all") as client:
        await client.account("a/1", 10)
        moved = await client.consume("a/1", 3)
        await client.consume("a/1", 100)
        hold = await client.post("/v1/holds", {"account": "a/1", "amount": 2})
        await client.post(f"/v1/holds/{hold.body['id']}/commit")
        items = [{"type": "consume", "account": "a/1", "amount": 1}] * 2
        await client.post("/v1/batch", {"atomic": True, "operations": items})

        found = await told(client)

        assert kinds(found) == [
            "open.created",
            "transfer.created",
            "transfer.created",
            "hold.created",
            "commit.created",
            "transfer.created",
            "transfer.created",
        ]
        assert [int(event["id"].removeprefix("s0-")) for event in found] == [1, 2, 3, 5, 6, 7, 8]
        assert {event["subject"] for event in found} == {"a/1"}
        assert found[2]["data"]["answer"] == moved.body
        assert found[2]["time"] == moved.body["at"]
        assert found[2]["source"] == "urn:shieldx:ledger:test/credits"
        assert "transfer.insufficient_credits" in kinds(await told(client, "include=refusals"))


async def test_a_reader_sees_what_it_may_see_and_no_other_balances(service: Service) -> None:
    async with service.client("ns/all") as client:
        await client.account("b/1", 10)
        await client.account("a/1", 10)
        await client.post("/v1/transfers", {"debit": "b/1", "credit": "a/1", "amount": 4})
        await client.consume("b/1", 1)
        hold = await client.post("/v1/holds", {"account": "b/1", "amount": 1, "to": "a/1"})
        await client.post(f"/v1/holds/{hold.body['id']}/void")
        await client.post("/v1/holds", {"account": "b/1", "amount": 1})
        items = [{"type": "consume", "account": "b/1", "amount": 99}]
        await client.post("/v1/batch", {"atomic": True, "operations": items})

    async with service.client("ns/a") as client:
        found = await told(client, "include=refusals")
    async with service.client("ns/writer") as client:
        refused = await client.get("/v1/events")

    assert kinds(found) == [
        "open.created",
        "transfer.created",
        "transfer.created",
        "hold.created",
        "void.created",
    ]
    for event in found:
        assert set(event["data"]["answer"].get("balances", {})) <= {"a/1"}
    assert (refused.status, refused.code) == (403, "missing_scope")


async def test_a_reader_waits_for_the_next_event(service: Service) -> None:
    async with service.client("ns/all") as client, service.client("ns/a") as reader:
        await client.account("a/1", 10)
        await client.account("b/1", 10)
        cursor = (await reader.get("/v1/events")).body["next"]
        waiting = asyncio.create_task(reader.get(f"/v1/events?wait=30&cursor={cursor}"))
        await client.consume("b/1", 1)
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await client.consume("a/1", 2)

        page = (await waiting).body

        assert [event["data"]["operation"]["amount"] for event in page["items"]] == [2]
        nothing = await reader.get(f"/v1/events?wait=1&cursor={page['next']}")
        assert nothing.body == {"items": [], "next": page["next"]}
        assert service.process.api.feed.waiting == 0


async def test_many_who_wait_cost_one_query_and_all_are_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_WAITING", 20)
    asked: list[int] = []
    history = service.process.ledger.history
    plain = history.events

    async def counted(after: int, limit: int) -> list[Any]:
        asked.append(after)
        return await plain(after, limit)

    async with service.client("ns/all") as client:
        await client.account("a/1", 10)
        cursor = (await client.get("/v1/events")).body["next"]
        monkeypatch.setattr(history, "events", counted)

        async def wait() -> Any:
            async with service.client("ns/a") as reader:
                return await reader.get(f"/v1/events?wait=30&cursor={cursor}")

        waiting = [asyncio.create_task(wait()) for _ in range(25)]
        while service.process.api.feed.waiting < 20:  # noqa: ASYNC110 — until all wait
            await asyncio.sleep(0.01)
        asked.clear()
        await client.consume("a/1", 2)
        answers = await asyncio.gather(*waiting)

    assert sorted(answer.status for answer in answers) == [200] * 20 + [503] * 5
    assert {answer.code for answer in answers if answer.status == 503} == {"overloaded"}
    assert all(len(a.body["items"]) == 1 for a in answers if a.status == 200)
    assert len(asked) <= 3


async def test_a_process_that_stops_lets_nobody_wait(service: Service) -> None:
    async with service.client("ns/all") as client:
        waiting = asyncio.create_task(client.get("/v1/events?wait=30"))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        stopping = asyncio.create_task(service.process.stop())

        assert (await waiting).body["items"] == []
        assert await stopping == 0
        assert time.monotonic() - began < 20


async def test_what_is_no_place_of_this_ledger_is_refused(service: Service) -> None:
    async with service.client("ns/all") as client:
        await client.account("a/1")
        for query, code in (
            ("cursor=nonsense", "invalid_cursor"),
            ("cursor=OTk5", "invalid_cursor"),  # 999, beyond the end
            ("wait=31", "invalid_wait"),
            ("wait=-1", "invalid_wait"),
            ("include=all", "invalid_include"),
            ("limit=1001", "invalid_limit"),
            ("since=0", "invalid_since"),
        ):
            refused = await client.get(f"/v1/events?{query}")
            assert (refused.status, refused.code) == (400, code), query
