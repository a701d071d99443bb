"""Grants, alerts, notes and dry runs on a real Postgres, as a client sees them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from shieldx.ledger.verify import verify
from shieldx.sidecar import wire_answers
from tests.support.api import Client, Service, fresh_key

pytestmark = pytest.mark.postgres


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with Service(dsn) as service, service.client() as client:
        yield client
    assert (await verify(dsn)).problem is None


def of_shape(body: Any, shape: type[msgspec.Struct]) -> bool:
    msgspec.convert(body, shape)
    return set(body) <= {field.encode_name for field in msgspec.structs.fields(shape)}


def later(**time: float) -> str:
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


async def test_a_grant_is_made_burnt_listed_and_voided(client: Client) -> None:
    await client.account("a", 10)
    first = await client.post("/v1/accounts/a/grants", {"amount": 100, "priority": 1})
    ends = later(days=1)
    second = await client.post("/v1/accounts/a/grants", {"amount": 50, "expires_at": ends})
    assert (first.status, second.status) == (201, 201)
    assert of_shape(second.body, wire_answers.GrantAnswer)
    assert second.body["balances"]["a"]["available"] == 160

    spent = await client.consume("a", 70)

    assert of_shape(spent.body, wire_answers.TransferAnswer)
    assert spent.body["burnt"] == [
        {"grant": second.body["id"], "amount": 50},
        {"grant": first.body["id"], "amount": 20},
    ]
    read = await client.get(f"/v1/transfers/{spent.body['id']}")
    assert read.body == spent.body
    listed = await client.get("/v1/accounts/a/grants")
    assert of_shape(listed.body, wire_answers.GrantPage)
    assert [(g["remaining"], g["state"]) for g in listed.body["items"]] == [
        (0, "exhausted"),
        (80, "active"),
    ]
    active = await client.get("/v1/accounts/a/grants?state=active&limit=1")
    assert [g["id"] for g in active.body["items"]] == [first.body["id"]]
    path = f"/v1/accounts/a/grants/{first.body['id']}"
    voided = await client.call("DELETE", path, key="void")
    assert (voided.status, voided.body["state"]) == (200, "voided")
    assert voided.body["balances"]["a"]["available"] == 10
    assert (await client.call("DELETE", path, key="void")).fields["idempotency-replayed"] == "true"
    assert (await client.call("DELETE", path)).code == "grant_already_voided"
    assert (await client.call("DELETE", "/v1/accounts/a/grants/none")).code == "grant_not_found"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"amount": 0}, "invalid_amount"),
        ({"amount": 1, "priority": -1}, "invalid_priority"),
        ({"amount": 1, "expires_at": "tomorrow"}, "invalid_expires_at"),
        ({"amount": 1, "expires_at": "2999-01-01T00:00:00"}, "invalid_expires_at"),
        ({"amount": 1, "effective_at": 5}, "invalid_effective_at"),
        (
            {
                "amount": 1,
                "effective_at": "2999-01-02T00:00:00Z",
                "expires_at": "2999-01-01T00:00:00Z",
            },
            "invalid_expires_at",
        ),
        ({"amount": 1, "until": "2999-01-01T00:00:00Z"}, "invalid_until"),
    ],
)
async def test_a_malformed_grant_is_refused_by_field(
    client: Client, body: dict[str, Any], code: str
) -> None:
    await client.account("a")

    refused = await client.post("/v1/accounts/a/grants", body)

    assert (refused.status, refused.code) == (400, code)


async def test_a_grant_of_the_past_is_refused_and_none_is_made_for_the_system(
    client: Client,
) -> None:
    await client.account("a")

    past = await client.post(
        "/v1/accounts/a/grants", {"amount": 1, "expires_at": "2020-01-01T00:00:00Z"}
    )
    assert (past.status, past.code) == (409, "grant_expired")
    system = await client.post("/v1/accounts/system%2Frevenue/grants", {"amount": 1})
    assert (system.status, system.code) == (400, "invalid_account")


async def test_a_grant_in_a_batch_is_the_grant_of_its_call(client: Client) -> None:
    await client.account("a")
    item = {"type": "grant", "account": "a", "amount": 5, "idempotency_key": "g"}
    batch = await client.post("/v1/batch", {"operations": [item]})
    (result,) = batch.body["results"]
    assert result["code"] == "created"

    again = await client.post("/v1/accounts/a/grants", {"amount": 5}, key="g")

    assert again.fields["idempotency-replayed"] == "true"
    assert again.body["id"] == result["id"]
    assert (await client.balance("a"))[2] == 5


async def test_a_dry_run_answers_as_if_done_and_does_nothing(client: Client) -> None:
    await client.account("a", 10)
    key = fresh_key()
    path = "/v1/accounts/a/consume"

    rehearsed = await client.post(f"{path}?dry_run=true", {"amount": 4}, key)
    refused = await client.post(f"{path}?dry_run=true", {"amount": 40})

    assert (rehearsed.status, rehearsed.body["balances"]["a"]["available"]) == (201, 6)
    assert rehearsed.body["id"].startswith("dry_")
    assert (refused.status, refused.code) == (402, "insufficient_credits")
    assert await client.balance("a") == (10, 0, 10)
    done = await client.post(path, {"amount": 4}, key)
    assert (done.status, "idempotency-replayed" in done.fields) == (201, False)
    replayed = await client.post(f"{path}?dry_run=true", {"amount": 4}, key)
    assert replayed.body == done.body
    operations = [{"type": "consume", "account": "a", "amount": 3} for _ in range(3)]
    for atomic in (False, True):
        body = {"operations": operations, "atomic": atomic}
        batch = await client.post("/v1/batch?dry_run=true", body)
        codes = [one["code"] for one in batch.body["results"]]
        assert codes[2] == "insufficient_credits"
    assert await client.balance("a") == (6, 0, 6)
    wrong = await client.post(f"{path}?dry_run=yes", {"amount": 4})
    assert (wrong.status, wrong.code) == (400, "invalid_dry_run")


async def test_an_alert_is_set_and_shown_and_a_note_is_taken(client: Client) -> None:
    await client.account("a", 10)

    alert = await client.call("PUT", "/v1/accounts/a/alerts", {"available_below": 5})
    note = await client.post("/v1/notes", {"kind": "run", "digest": "ab" * 32})

    assert alert.status == 200
    assert of_shape(alert.body, wire_answers.AlertAnswer)
    assert (await client.get("/v1/accounts/a")).body["available_below"] == 5
    assert note.status == 201
    assert of_shape(note.body, wire_answers.NoteAnswer)
    bad = await client.post("/v1/notes", {"kind": "run", "digest": "XY"})
    assert (bad.status, bad.code) == (400, "invalid_digest")
    unset = await client.call("PUT", "/v1/accounts/a/alerts", {"available_below": None})
    assert unset.body["available_below"] is None
