"""Callers with tokens: what they may do, what exists for them, and when nobody is let in."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shieldx.kube.signing_keys import SigningKeys
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.sidecar.config import Config
from shieldx.sidecar.main import Options
from tests.support.api import Client, Reviewer, Service, served

pytestmark = pytest.mark.postgres

CONFIG: dict[str, Any] = {
    "ledger": "test/credits",
    "auth": {
        "serviceAccounts": [
            {"namespace": "ops", "name": "all", "scopes": ["read", "write", "issue", "admin"]},
            {
                "namespace": "shop",
                "name": "till",
                "scopes": ["read", "write"],
                "accounts": ["shop/"],
            },
            {"namespace": "shop", "name": "other", "scopes": ["read", "write"]},
            {"namespace": "shop", "name": "reader", "scopes": ["read"]},
            {"namespace": "shop", "name": "nothing", "scopes": ["read"], "accounts": []},
        ]
    },
}


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[Service]:
    async with Service(dsn, config=msgspec.convert(CONFIG, Config)) as service:
        async with service.client("ops/all") as ops:
            for name in ("shop/a", "shop/b", "bank/a"):
                await ops.account(name, 100)
        yield service


@pytest.fixture
async def till(service: Service) -> AsyncIterator[Client]:
    async with service.client("shop/till") as client:
        yield client


async def test_no_token_no_entry(service: Service) -> None:
    for token, status in ((None, 401), ("forged", 401), ("shop/stranger", 403)):
        async with service.client(token) as client:
            for path in ("/v1/accounts/shop%2Fa", "/v1/transfers/tx_s0_1", "/v1/holds?account=a"):
                assert (await client.get(path)).status == status
            assert (await client.post("/v1/batch", {"operations": []})).status == status
            assert (await client.get("/health")).status == 200
            assert (await client.get("/openapi.json")).status == 200


async def test_nobody_is_let_in_while_tokens_cannot_be_reviewed(service: Service) -> None:
    async with service.client("shop/other") as known:
        assert (await known.get("/v1/accounts/shop%2Fa")).status == 200
        service.reviewer.away = True
        async with service.client("shop/reader") as unknown:
            refused = await unknown.get("/v1/accounts/shop%2Fa")
        assert (await known.get("/v1/accounts/shop%2Fa")).status == 200

    assert (refused.status, refused.code) == (503, "authentication_unavailable")
    assert refused.fields["retry-after"] == "1"


async def test_of_a_plain_batch_only_what_cannot_be_judged_waits_for_the_database(
    service: Service, till: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = await till.post("/v1/holds", {"account": "shop/a", "amount": 5})
    known = {"type": "void", "hold": hold.body["id"]}
    strange = {"type": "void", "hold": "hold_s0_999"}
    consume = {"type": "consume", "account": "shop/a", "amount": 1}

    async def away(_: str) -> tuple[str, ...]:
        raise ShardUnavailableError("away")

    monkeypatch.setattr(service.process.api.writes._parties, "_fetch_one", away)

    plain = await till.post("/v1/batch", {"operations": [strange, known, consume]}, "k")
    whole = {"atomic": True, "operations": [consume, strange]}
    atomic = await till.post("/v1/batch", whole)

    assert plain.status == 200
    results = plain.body["results"]
    assert [one["status"] for one in results] == [503, 201, 201]
    assert results[0]["code"] == "shard_unavailable"
    assert (atomic.status, atomic.code) == (503, "shard_unavailable")
    monkeypatch.undo()
    again = await till.post("/v1/batch", {"operations": [strange, known, consume]}, "k")
    assert again.body["results"][0]["code"] == "hold_not_found"
    assert again.fields["idempotency-replayed-operations"] == "1,2"


async def test_a_token_is_reviewed_once_and_its_rights_are_those_of_now(service: Service) -> None:
    async with service.client("shop/other") as client:
        for _ in range(5):
            assert (await client.get("/v1/accounts/shop%2Fa")).status == 200
        assert service.reviewer.asked.count("shop/other") == 1

        service.accounts.policy = {}
        assert (await client.get("/v1/accounts/shop%2Fa")).status == 403


async def test_what_lies_outside_the_prefixes_does_not_exist(
    till: Client, service: Service
) -> None:
    async with service.client("ops/all") as ops:
        hold = (await ops.post("/v1/holds", {"account": "bank/a", "amount": 5})).body["id"]
        moved = (await ops.consume("bank/a", 5)).body["id"]
        entries = (await ops.get("/v1/accounts/bank%2Fa/entries")).body["items"]
    assert len(entries) == 2

    for method, path, body in (
        ("GET", "/v1/accounts/bank%2F{}", None),
        ("GET", "/v1/accounts/bank%2F{}/balance", None),
        ("GET", "/v1/accounts/bank%2F{}/entries", None),
        ("GET", "/v1/holds?account=bank/{}", None),
        ("PATCH", "/v1/accounts/bank%2F{}", {"metadata": {}}),
        ("POST", "/v1/accounts/bank%2F{}/consume", {"amount": 1}),
    ):
        there = await till.call(method, path.format("a"), body)
        nowhere = await till.call(method, path.format("z"), body)
        assert there.status == nowhere.status == 404
        assert there.code == nowhere.code == "account_not_found"
        assert there.payload.replace(b"bank/a", b"bank/z") == nowhere.payload

    for path in (f"/v1/holds/{hold}", f"/v1/transfers/{moved}"):
        assert (await till.get(path)).status == 404
    assert (await till.post(f"/v1/holds/{hold}/commit")).code == "hold_not_found"
    assert (await till.post(f"/v1/holds/{hold}/void")).code == "hold_not_found"
    assert (await till.post(f"/v1/transfers/{moved}/reverse")).code == "transfer_not_found"
    async with service.client("ops/all") as ops:
        assert (await ops.get(f"/v1/holds/{hold}")).body["state"] == "held"


async def test_the_next_hold_of_another_cannot_be_committed_by_guessing_its_id(
    till: Client, service: Service
) -> None:
    async with service.client("ops/all") as ops:
        last = (await ops.post("/v1/holds", {"account": "bank/a", "amount": 5})).body["id"]
        stem, _, number = last.rpartition("_")
        path = f"/v1/holds/{stem}_{int(number) + 1}/commit"
        body = {"account": "bank/a", "amount": 5}

        ops.writer.write(ops.request("POST", "/v1/holds", body))
        till.writer.write(till.request("POST", path, {}))
        reserved, guessed = await ops.response(), await till.response()

    assert reserved.status == 201
    assert path == f"/v1/holds/{reserved.body['id']}/commit"
    assert (guessed.status, guessed.code) == (404, "hold_not_found")


async def test_within_its_prefixes_a_caller_moves_and_holds(till: Client) -> None:
    body = {"debit": "shop/a", "credit": "shop/b", "amount": 1}
    moved = await till.post("/v1/transfers", body)
    assert moved.status == 201
    back = await till.post(f"/v1/transfers/{moved.body['id']}/reverse")
    assert back.status == 201
    hold = (await till.post("/v1/holds", {"account": "shop/a", "amount": 2})).body
    committed = await till.post(f"/v1/holds/{hold['id']}/commit", {"amount": 1})
    assert (committed.status, committed.body["state"]) == (201, "committed")
    assert list(committed.body["balances"]) == ["shop/a"]
    paid = await till.consume("shop/a", 1)
    assert list(paid.body["balances"]) == ["shop/a"]
    read = await till.get(f"/v1/transfers/{paid.body['id']}")
    assert list(read.body["balances"]) == ["shop/a"]
    assert read.body["credit"] == "system/revenue"


async def test_a_hold_of_another_process_is_known_to_be_ones_own(
    till: Client, service: Service
) -> None:
    async with service.client("ops/all") as ops:
        hold = (await ops.post("/v1/holds", {"account": "shop/a", "amount": 5})).body["id"]

    assert (await till.post(f"/v1/holds/{hold}/void")).status == 201


async def test_credits_are_made_by_issuers_only(service: Service) -> None:
    async with service.client("shop/other") as writer:
        for path, body in (
            ("/v1/accounts/shop%2Fa/refill", {"amount": 1}),
            ("/v1/transfers", {"debit": "system/revenue", "credit": "shop/a", "amount": 1}),
            ("/v1/accounts/system%2Fissuance/consume", {"amount": 1, "to": "shop/a"}),
            ("/v1/holds", {"account": "system/issuance", "amount": 1, "to": "shop/a"}),
        ):
            refused = await writer.post(path, body)
            assert (refused.status, refused.code) == (403, "missing_scope"), path
            assert refused.body["scope"] == "issue"
        paid = (await writer.consume("shop/a", 5)).body["id"]
        refund = await writer.post(f"/v1/transfers/{paid}/reverse")
        assert (refund.status, refund.code) == (403, "missing_scope")
        operations = [
            {"type": "refill", "account": "shop/a", "amount": 1},
            {"type": "transfer", "debit": "system/issuance", "credit": "shop/a", "amount": 1},
            {"type": "reverse", "transfer": paid},
            {"type": "consume", "account": "shop/a", "amount": 1},
        ]
        plain = await writer.post("/v1/batch", {"operations": operations})
        assert [one["status"] for one in plain.body["results"]] == [403, 403, 403, 201]
        atomic = await writer.post("/v1/batch", {"atomic": True, "operations": operations})
        assert (atomic.status, atomic.code) == (403, "missing_scope")


async def test_scopes_are_asked_for_before_anything_else(service: Service) -> None:
    async with service.client("shop/reader") as reader:
        assert (await reader.consume("shop/a", 1)).code == "missing_scope"
        assert (await reader.post("/v1/accounts", {"id": "shop/c"})).code == "missing_scope"
        assert (await reader.get("/v1/accounts/shop%2Fa/balance")).status == 200
    async with service.client("shop/other") as writer:
        frozen = await writer.call("PATCH", "/v1/accounts/shop%2Fa", {"state": "frozen"})
        assert (frozen.code, frozen.body["scope"]) == ("missing_scope", "admin")
        overdraft = await writer.post("/v1/accounts", {"id": "shop/d", "floor": -5})
        assert (overdraft.code, overdraft.body["scope"]) == ("missing_scope", "admin")
    async with service.client("shop/nothing") as nothing:
        assert (await nothing.get("/v1/accounts/shop%2Fa/balance")).status == 404


async def test_a_refusal_by_right_leaves_the_key_unburnt(service: Service) -> None:
    async with service.client("shop/other") as writer:
        refused = await writer.post("/v1/accounts/shop%2Fa/refill", {"amount": 1}, "k")
        allowed = await writer.consume("shop/a", 1, "k")

    assert (refused.status, allowed.status) == (403, 201)


async def test_keys_belong_to_their_caller(till: Client, service: Service) -> None:
    first = await till.consume("shop/a", 1, "k")
    async with service.client("shop/other") as other:
        second = await other.consume("shop/a", 1, "k")

    assert first.body["id"] != second.body["id"]
    assert "idempotency-replayed" not in second.fields


async def test_holds_get_the_configured_timeouts(dsn: str) -> None:
    holds = {"defaultTimeoutSeconds": 5, "maxTimeoutSeconds": 10}
    config = msgspec.convert({**CONFIG, "holds": holds}, Config)
    async with Service(dsn, config=config) as service, service.client("ops/all") as ops:
        await ops.account("a", 10)

        too_long = {"account": "a", "amount": 1, "timeout_seconds": 11}
        assert (await ops.post("/v1/holds", too_long)).code == "invalid_timeout_seconds"
        assert (await ops.post("/v1/holds", {"account": "a", "amount": 1})).status == 201


async def test_changed_rights_are_in_force_without_a_restart(
    dsn: str, tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"ledger": "test/credits"}')
    (tmp_path / "dsn").write_text(dsn)
    options = Options(tmp_path / "dsn", path, "127.0.0.1", free_port, drain_seconds=0)
    reviewer = Reviewer()
    async with (
        served(options, reviewer, SigningKeys(reviewer), capsys),
        Client(free_port, "ops/all") as ops,
    ):
        assert (await ops.post("/v1/accounts", {"id": "a"})).status == 403
        path.write_text(
            json.dumps({**CONFIG, "holds": {"defaultTimeoutSeconds": 7, "maxTimeoutSeconds": 9}})
        )
        async with asyncio.timeout(30):
            while (await ops.get("/v1/accounts/a/balance")).status == 403:  # noqa: ASYNC110 — a file
                await asyncio.sleep(0.1)

        await ops.account("a", 5)
        too_long = {"account": "a", "amount": 1, "timeout_seconds": 10}
        assert (await ops.post("/v1/holds", too_long)).code == "invalid_timeout_seconds"
        assert (await ops.post("/v1/holds", {"account": "a", "amount": 1})).status == 201
