"""The API's calls on a real Postgres, as a client sees them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

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


def of_shape(body: Any, shape: type[msgspec.Struct]) -> bool:
    """Whether an answer has the fields that OpenAPI promises, and no others."""
    msgspec.convert(body, shape)
    return set(body) <= {field.encode_name for field in msgspec.structs.fields(shape)}


async def test_an_account_lives_from_opening_to_closing(client: Client, dsn: str) -> None:
    opened = await client.post("/v1/accounts", {"id": "shop/a", "metadata": {"plan": "pro"}})
    assert opened.status == 201
    assert of_shape(opened.body, wire_answers.AccountAnswer)

    again = await client.post("/v1/accounts", {"id": "shop/a"})
    assert (again.status, again.code) == (409, "account_exists")

    changed = await client.call("PATCH", "/v1/accounts/shop%2Fa", {"metadata": {"plan": "free"}})
    assert (changed.status, changed.body["metadata"]) == (200, {"plan": "free"})

    frozen = await client.call("PATCH", "/v1/accounts/shop%2Fa", {"state": "frozen"})
    assert (frozen.status, frozen.body["state"]) == (200, "frozen")
    await client.post("/v1/accounts/shop%2Fa/refill", {"amount": 5})
    refused = await client.consume("shop/a", 1)
    assert (refused.status, refused.code) == (409, "account_frozen")

    await client.call("PATCH", "/v1/accounts/shop%2Fa", {"state": "open"})
    full = await client.call("PATCH", "/v1/accounts/shop%2Fa", {"state": "closed"})
    assert (full.status, full.code) == (409, "account_not_empty")
    assert (await client.consume("shop/a", 5)).status == 201
    closed = await client.call("PATCH", "/v1/accounts/shop%2Fa", {"state": "closed"})
    assert closed.status == 200
    gone = await client.post("/v1/accounts/shop%2Fa/refill", {"amount": 5})
    assert (gone.status, gone.code) == (409, "account_closed")

    read = await client.get("/v1/accounts/shop%2Fa")
    assert read.body["state"] == "closed"
    assert of_shape(read.body, wire_answers.AccountAnswer)
    assert (await verify(dsn)).problem is None


async def test_a_balance_says_of_when_it_is(client: Client) -> None:
    await client.account("a", 10)

    balance = await client.get("/v1/accounts/a/balance")

    assert of_shape(balance.body, wire_answers.BalanceAnswer)
    assert balance.body["as_of"].endswith("Z")
    missing = await client.get("/v1/accounts/nobody/balance")
    assert (missing.status, missing.code) == (404, "account_not_found")


async def test_a_transfer_is_found_by_id_and_by_reference(client: Client) -> None:
    await client.account("a", 10)
    await client.account("b")
    body = {"debit": "a", "credit": "b", "amount": 4, "kind": "order", "reference": "o-7"}

    moved = await client.post("/v1/transfers", {**body, "metadata": {"order": "7"}})

    assert moved.status == 201
    assert of_shape(moved.body, wire_answers.TransferAnswer)
    assert (moved.body["kind"], moved.body["reference"]) == ("order", "o-7")
    read = await client.get(f"/v1/transfers/{moved.body['id']}")
    assert read.body == moved.body
    found = await client.get("/v1/transfers?reference=o-7")
    assert [one["id"] for one in found.body["items"]] == [moved.body["id"]]
    assert (await client.get("/v1/transfers?reference=none")).body == {"items": [], "next": None}
    taken = await client.post("/v1/transfers", body)
    assert (taken.status, taken.code) == (409, "reference_already_used")


async def test_reversals_add_up_to_the_transfer_and_no_more(client: Client) -> None:
    await client.account("a", 10)
    transfer = (await client.consume("a", 10)).body["id"]

    first = await client.post(f"/v1/transfers/{transfer}/reverse", {"amount": 4})
    assert (first.status, first.body["reverses"]) == (201, transfer)
    over = await client.post(f"/v1/transfers/{transfer}/reverse", {"amount": 7})
    assert (over.status, over.code) == (422, "exceeds_reversible_amount")
    rest = await client.post(f"/v1/transfers/{transfer}/reverse")
    assert (rest.status, rest.body["amount"]) == (201, 6)
    done = await client.post(f"/v1/transfers/{transfer}/reverse")
    assert (done.status, done.code) == (409, "transfer_already_reversed")
    assert await client.balance("a") == (10, 0, 10)


async def test_a_hold_can_be_committed_in_parts(client: Client) -> None:
    await client.account("a", 10)
    hold = (await client.post("/v1/holds", {"account": "a", "amount": 8})).body
    assert of_shape(hold, wire_answers.HoldAnswer)

    part = await client.post(f"/v1/holds/{hold['id']}/commit", {"amount": 3, "final": False})
    assert of_shape(part.body, wire_answers.HoldAnswer)
    assert (part.body["state"], part.body["remaining"]) == ("held", 5)
    assert await client.balance("a") == (7, 5, 2)
    rest = await client.post(f"/v1/holds/{hold['id']}/commit")
    assert (rest.body["state"], rest.body["committed_amount"]) == ("committed", 8)
    back = await client.post(f"/v1/transfers/{rest.body['transfer']}/reverse")
    assert (back.status, back.body["amount"]) == (201, 5)

    read = await client.get(f"/v1/holds/{hold['id']}")
    assert of_shape(read.body, wire_answers.HoldAnswer)
    assert (read.body["state"], read.body["committed_amount"]) == ("committed", 8)


async def test_holds_are_listed_by_account_and_state_in_pages(client: Client) -> None:
    await client.account("a", 100)
    ids = [
        (await client.post("/v1/holds", {"account": "a", "amount": 1})).body["id"] for _ in range(5)
    ]
    await client.post(f"/v1/holds/{ids[0]}/void")

    page = (await client.get("/v1/holds?account=a&state=held&limit=3")).body
    rest = (await client.get(f"/v1/holds?account=a&state=held&limit=3&cursor={page['next']}")).body

    assert sorted(one["id"] for one in page["items"] + rest["items"]) == sorted(ids[1:])
    assert rest["next"] is None
    assert all(of_shape(one, wire_answers.HoldAnswer) for one in page["items"])


async def test_a_hold_expires_by_time_alone(client: Client) -> None:
    await client.account("a", 10)
    body = {"account": "a", "amount": 8, "timeout_seconds": 1}
    made = (await client.post("/v1/holds", body)).body
    hold, then = made["id"], made["balances"]["a"]
    assert (then["balance"], then["held"], then["available"]) == (10, 8, 2)

    await asyncio.sleep(1.1)

    assert await client.balance("a") == (10, 0, 10)
    assert (await client.get(f"/v1/holds/{hold}")).body["state"] == "expired"
    late = await client.post(f"/v1/holds/{hold}/commit")
    assert (late.status, late.code) == (409, "hold_expired")


async def test_a_timeout_above_the_maximum_is_refused(client: Client) -> None:
    await client.account("a", 10)

    refused = await client.post(
        "/v1/holds", {"account": "a", "amount": 1, "timeout_seconds": 86401}
    )

    assert (refused.status, refused.code) == (400, "invalid_timeout_seconds")


async def test_history_is_whole_and_comes_in_pages(client: Client) -> None:
    await client.account("a", 10)
    for _ in range(4):
        await client.consume("a", 1)

    page = (await client.get("/v1/accounts/a/entries?limit=3")).body
    rest = (await client.get(f"/v1/accounts/a/entries?limit=3&cursor={page['next']}")).body

    assert [one["amount"] for one in page["items"] + rest["items"]] == [-1, -1, -1, -1, 10]
    assert [one["balance"] for one in page["items"] + rest["items"]] == [6, 7, 8, 9, 10]
    assert all(of_shape(one, wire_answers.Entry) for one in page["items"])
    assert (await client.get("/v1/accounts/nobody/entries")).status == 404


QUERIES: Final = (
    ("/v1/accounts/a/entries?cursor=zzz", "invalid_cursor"),
    ("/v1/accounts/a/entries?cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "invalid_cursor"),
    ("/v1/accounts/a/entries?cursor=LTE=", "invalid_cursor"),
    ("/v1/accounts/a/entries?limit=0", "invalid_limit"),
    ("/v1/accounts/a/entries?limit=1001", "invalid_limit"),
    ("/v1/accounts/a/entries?limit=x", "invalid_limit"),
    ("/v1/accounts/a/entries?limit=1&limit=2", "invalid_limit"),
    ("/v1/accounts/a/entries?sort=up", "invalid_sort"),
    ("/v1/accounts/a/balance?at=now", "invalid_at"),
    ("/v1/holds", "invalid_account"),
    ("/v1/holds?account=a&state=lost", "invalid_state"),
    ("/v1/transfers", "invalid_reference"),
    ("/v1/transfers?reference=%00", "invalid_reference"),
    ("/v1/transfers?reference=%ff", "invalid_query"),
)


async def test_a_malformed_query_is_refused_by_the_name_of_its_parameter(client: Client) -> None:
    await client.account("a")

    for path, code in QUERIES:
        refused = await client.get(path)
        assert (refused.status, refused.code) == (400, code), path


async def test_a_key_replays_its_answer_and_nothing_else(client: Client) -> None:
    await client.account("a", 10)

    first = await client.consume("a", 3, "k")
    again = await client.consume("a", 3, "k")
    other = await client.consume("a", 4, "k")

    assert (again.status, again.payload) == (first.status, first.payload)
    assert "idempotency-replayed" not in first.fields
    assert again.fields["idempotency-replayed"] == "true"
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert other.body["field"] == "amount"
    assert await client.balance("a") == (7, 0, 7)


async def test_a_business_refusal_stays_the_answer_of_its_key(client: Client) -> None:
    await client.account("a", 1)
    first = await client.consume("a", 2, "k")
    await client.post("/v1/accounts/a/refill", {"amount": 5})

    again = await client.consume("a", 2, "k")

    assert first.status == 402
    assert (first.body["available"], first.body["required"]) == (1, 2)
    assert (again.status, again.payload) == (first.status, first.payload)


async def test_a_malformed_request_leaves_its_key_unburnt(client: Client) -> None:
    await client.account("a", 10)

    bad = await client.post("/v1/accounts/a/consume", {"amount": 1.5}, "k")
    good = await client.consume("a", 1, "k")

    assert (bad.status, bad.code) == (400, "invalid_amount")
    assert good.status == 201


async def test_a_write_needs_one_printable_key(client: Client) -> None:
    await client.account("a", 10)

    for key in ("", " ", "é", "k" * 256, "a\tb"):
        refused = await client.call(
            "POST", "/v1/accounts/a/consume", {"amount": 1}, fields={"Idempotency-Key": key}
        )
        assert (refused.status, refused.code) == (400, "invalid_idempotency_key"), key


async def test_direct_and_batched_operations_replay_each_other(client: Client) -> None:
    await client.account("a", 10)
    direct = await client.consume("a", 1, "own")

    item = {"type": "consume", "account": "a", "amount": 1}
    batch = await client.post(
        "/v1/batch", {"operations": [{**item, "idempotency_key": "own"}, item]}, "h"
    )
    second = await client.consume("a", 1, "h#1")

    results = batch.body["results"]
    assert (results[0]["status"], results[0]["id"]) == (201, direct.body["id"])
    assert second.body["id"] == results[1]["id"]
    assert second.fields["idempotency-replayed"] == "true"
    assert await client.balance("a") == (8, 0, 8)


async def test_operations_of_a_plain_batch_stand_and_fall_alone(client: Client) -> None:
    await client.account("a", 10)
    await client.account("b")
    hold = (await client.post("/v1/holds", {"account": "a", "amount": 1})).body["id"]
    operations: list[dict[str, Any]] = [
        {"type": "consume", "account": "a", "amount": 100},
        {"type": "transfer", "debit": "a", "credit": "b", "amount": 2},
        {"type": "transfer", "debit": "a", "credit": "b", "amount": "2"},
        {"type": "refill", "account": "b", "amount": 3},
        {"type": "hold", "account": "b", "amount": 1},
        {"type": "commit", "hold": hold},
        {"type": "void", "hold": hold},
        {"type": "reverse", "transfer": "tx_s0_1"},
        {"type": "mint", "account": "a"},
    ]

    answer = await client.post("/v1/batch", {"operations": operations}, "k")

    assert answer.status == 200
    assert [(one["status"], one["code"]) for one in answer.body["results"]] == [
        (402, "insufficient_credits"),
        (201, "created"),
        (400, "invalid_amount"),
        (201, "created"),
        (201, "created"),
        (201, "created"),
        (409, "hold_already_committed"),
        (402, "insufficient_credits"),
        (400, "invalid_type"),
    ]
    again = await client.post("/v1/batch", {"operations": operations}, "k")
    assert again.payload == answer.payload


async def test_an_atomic_batch_does_all_or_nothing(client: Client) -> None:
    await client.account("a", 10)
    await client.account("b")
    move = {"type": "transfer", "debit": "a", "credit": "b", "amount": 6}

    done = await client.post("/v1/batch", {"atomic": True, "operations": [move]}, "k1")
    assert (done.status, done.body["results"][0]["code"]) == (201, "created")

    refused = await client.post(
        "/v1/batch", {"atomic": True, "operations": [{**move, "amount": 1}, move, move]}, "k2"
    )
    assert (refused.status, refused.code) == (402, "insufficient_credits")
    codes = [one["code"] for one in refused.body["results"]]
    assert codes == ["batch_aborted", "insufficient_credits", "batch_aborted"]
    assert await client.balance("a") == (4, 0, 4)

    malformed = await client.post(
        "/v1/batch", {"atomic": True, "operations": [move, {**move, "amount": 0}]}, "k3"
    )
    assert (malformed.status, malformed.code) == (400, "invalid_amount")
    assert malformed.body["results"][0]["status"] == 409

    keyed = {**move, "idempotency_key": "own"}
    own = await client.post("/v1/batch", {"atomic": True, "operations": [keyed]}, "k4")
    assert (own.status, own.code) == (400, "invalid_idempotency_key")

    for key, first in (("k1", done), ("k2", refused)):
        body = {"k1": [move], "k2": [{**move, "amount": 1}, move, move]}[key]
        again = await client.post("/v1/batch", {"atomic": True, "operations": body}, key)
        assert (again.status, again.payload) == (first.status, first.payload)
        assert again.fields["idempotency-replayed"] == "true"


async def test_paths_and_methods_that_are_not_there(client: Client) -> None:
    for path in (
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/accounts/",
        "/v1/accounts/a/nothing",
        "/v1/holds/",
    ):
        missing = await client.get(path)
        assert (missing.status, missing.code) == (404, "not_found"), path

    wrong = await client.call("DELETE", "/v1/accounts/a")
    assert (wrong.status, wrong.code) == (405, "method_not_allowed")
    assert wrong.fields["allow"] == "GET, PATCH"
    probe = await client.post("/health")
    assert (probe.status, probe.fields["allow"]) == (405, "GET")


async def test_account_ids_are_percent_encoded_in_paths(client: Client) -> None:
    name = "Shop/é"
    refused = await client.post("/v1/accounts", {"id": name})
    assert refused.status == 400
    await client.account("a:b@c/d.e-f_g", 5)

    assert await client.balance("a:b@c/d.e-f_g") == (5, 0, 5)
    for path in ("a%3Ab%40c%2Fd.e-f_g", "a:b@c%2fd.e-f_g"):
        assert (await client.get(f"/v1/accounts/{path}")).status == 200
    for path in ("%ff", "%", "%00", "a%0A"):
        assert (await client.get(f"/v1/accounts/{path}")).status == 404


async def test_names_below_system_are_not_to_be_opened(client: Client) -> None:
    refused = await client.post("/v1/accounts", {"id": "system/mine"})

    assert (refused.status, refused.code) == (400, "invalid_id")


async def test_money_to_oneself_is_refused(client: Client) -> None:
    await client.account("a", 5)

    for path, body in (
        ("/v1/transfers", {"debit": "a", "credit": "a", "amount": 1}),
        ("/v1/accounts/a/consume", {"amount": 1, "to": "a"}),
        ("/v1/accounts/a/refill", {"amount": 1, "from": "a"}),
        ("/v1/holds", {"account": "a", "amount": 1, "to": "a"}),
    ):
        assert (await client.post(path, body)).status == 400


async def test_probes_metrics_and_the_document_are_public(client: Client) -> None:
    await client.account("a", 5)
    await client.consume("a", 9, fresh_key())

    assert (await client.get("/health")).body == {"status": "ok"}
    assert (await client.get("/ready")).body == {"status": "ready"}
    metrics = (await client.get("/metrics")).payload.decode()
    assert 'shieldx_ledger_requests_total{route="consume",status="402"} 1.0' in metrics
    assert 'shieldx_ledger_refusals_total{code="insufficient_credits"} 1.0' in metrics
    assert "shieldx_ledger_batch_size_count" in metrics
    assert "shieldx_ledger_queue_length 0.0" in metrics
    page = await client.get("/docs")
    assert (page.status, page.fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.fields["content-security-policy"]
    document = (await client.get("/openapi.json")).body
    assert document["openapi"] == "3.1.0"
