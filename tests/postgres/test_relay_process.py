"""The relay beside an app, before a real API on a real Postgres: the app sees no difference."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shieldx.ledger.verify import verify
from shieldx.resources.shadowexperiment import DECIDED, REFUSED, RELAY_ANSWERS
from shieldx.sidecar.config import Auth, Config, ServiceAccount
from shieldx.sidecar.scopes import Scope
from shieldx.signals.pods import PodsSource
from shieldx.signals.readings import Counter, Pod, Reading
from shieldx.signals.relays import RelaysSource
from shieldx.signals.selector import Selector
from tests.postgres.test_api_process import ended, running
from tests.support.api import Client, Response, Service, fresh_key
from tests.support.load import Load, path
from tests.support.relay import Relaying

pytestmark = pytest.mark.postgres

CREDITS = 1_000_000
CALLERS = [
    ServiceAccount("shop", "app", list(Scope)),
    ServiceAccount("shop", "till", [Scope.WRITE], ["shop/"]),
    ServiceAccount("shop", "reader", [Scope.READ]),
]
CONFIG = Config(ledger="shop/credits", auth=Auth(CALLERS))
API = """
import asyncio, os
from shieldx.sidecar.auth import NoTokens
from shieldx.sidecar.config import Config
from shieldx.sidecar.main import Process

async def main():
    process = Process(os.environ["DSN"], Config(ledger="test/credits"), NoTokens())
    port = int(os.environ["PORT"])
    await process.serve(asyncio.Event(), host="127.0.0.1", port=port, metrics=("127.0.0.1", None))

asyncio.run(main())
"""


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[Service]:
    async with Service(dsn, config=CONFIG) as service:
        async with service.client("shop/app") as client:
            await client.account("a", CREDITS)
            await client.account("shop/1", 10)
        yield service


@pytest.fixture
async def relay(service: Service, tmp_path: Path) -> AsyncIterator[Relaying]:
    async with Relaying(service.port, tmp_path) as relay:
        yield relay


type Call = tuple[str, str, Any]

CALLS: list[Call] = [
    ("POST", "/v1/accounts/a/consume", {"amount": 3, "metadata": {"ü": ["\u2028", 2**53 + 1]}}),
    ("POST", "/v1/accounts/a/consume", {"amount": 3, "reference": "r-1"}),
    ("POST", "/v1/accounts/a/consume", {"amount": 3, "reference": "r-1"}),
    ("POST", "/v1/accounts/shop%2F1/consume", {"amount": 11}),
    ("POST", "/v1/accounts/nobody/consume", {"amount": 1}),
    ("POST", "/v1/accounts/a/consume", {"amount": 1, "to": "a"}),
    ("POST", "/v1/accounts/a/consume", {"amount": 0}),
    ("POST", "/v1/accounts/a/consume", {"amount": 1, "amuont": 2}),
    ("POST", "/v1/accounts/a/consume", [1]),
    ("POST", "/v1/accounts/a/refill", {"amount": 5}),
    ("POST", "/v1/accounts/a/refill", {"amount": 2**63 - 1}),
    ("POST", "/v1/accounts/a/grants", {"amount": 5, "expires_at": "2031-01-01T00:00:00+01:00"}),
    ("POST", "/v1/transfers", {"debit": "a", "credit": "shop/1", "amount": 1, "kind": "gift"}),
    ("POST", "/v1/transfers", {"debit": "a", "credit": "a", "amount": 1}),
    ("POST", "/v1/transfers", {"debit": "a", "credit": "b", "amount": 1, "kind": "refill"}),
    ("POST", "/v1/transfers/t_none/reverse", {}),
    ("POST", "/v1/holds", {"account": "a", "amount": 7, "timeout_seconds": 600}),
    ("POST", "/v1/holds", {"account": "a", "amount": 7, "timeout_seconds": 99_999_999}),
    ("POST", "/v1/holds", {"account": "a", "amount": 7, "timeout_seconds": 100_000}),
    ("POST", "/v1/holds/h%3Anone/commit", {"amount": 1}),
    ("POST", "/v1/holds/h_none/void", {}),
    ("POST", "/v1/accounts", {"id": "a"}),
    ("PATCH", "/v1/accounts/a", {"metadata": {"x": 1}}),
    ("POST", "/v1/notes", {"kind": "run", "digest": "ab" * 32}),
    ("GET", "/v1/transfers?reference=r-1", None),
    ("GET", "/v1/accounts/nobody/balance", None),
    ("GET", "/v1/accounts/nobody", None),
    ("GET", "/v1/nothing", None),
    ("DELETE", "/v1/transfers", None),
]


def shown(answer: Response) -> tuple[int, dict[str, str], bytes]:
    fields = {name: value for name, value in answer.fields.items() if name != "date"}
    return answer.status, fields, answer.payload


def seen_from_outside(pid: int) -> tuple[str, str]:
    """Return the sockets that are listened on around a process, and the state of its memory."""
    folder = Path("/proc", str(pid))
    return (folder / "net" / "tcp").read_text(), (folder / "status").read_text()


async def direct(port: int, token: str, call: Call, key: str) -> Response:
    async with Client(port, token) as client:
        return await client.call(*call, key=key)


def request(call: Call, key: str) -> bytes:
    return Client(0).request(*call, key=key)


@pytest.mark.parametrize("token", ["shop/app", "shop/till", "shop/reader", "shop/stranger"])
async def test_whoever_comes_second_is_answered_alike_relayed_or_not(
    service: Service, tmp_path: Path, token: str
) -> None:
    async with Relaying(service.port, tmp_path, caller=token) as relay:
        there = [f"there-{index}" for index in range(len(CALLS))]
        first = [
            await direct(service.port, token, *pair) for pair in zip(CALLS, there, strict=True)
        ]
        again = [
            await direct(service.port, token, *pair) for pair in zip(CALLS, there, strict=True)
        ]
        relayed = await relay.together(*map(request, CALLS, there))
        here = [f"here-{index}" for index in range(len(CALLS))]
        new = await relay.together(*map(request, CALLS, here))
        replayed = [
            await direct(service.port, token, *pair) for pair in zip(CALLS, here, strict=True)
        ]

    assert [shown(one) for one in relayed] == [shown(one) for one in again]
    assert [one.status for one in relayed] == [one.status for one in first]
    for call, one, other in zip(CALLS, new, replayed, strict=True):
        fields = {**one.fields, "date": ""}
        if "idempotency-replayed" in other.fields:
            fields["idempotency-replayed"] = "true"
        assert (one.status, fields, one.payload) == (
            other.status,
            {**other.fields, "date": ""},
            other.payload,
        ), call
    if CALLERS[0].name in token:
        assert relay.operations_a_call > 3


async def test_a_key_of_another_operation_is_refused_alike(
    service: Service, relay: Relaying
) -> None:
    calls: list[Call] = [("POST", path("a"), {"amount": amount}) for amount in (1, 2, 3)]
    await asyncio.gather(*(direct(service.port, "shop/app", calls[0], f"k{i}") for i in range(9)))

    relayed = await relay.together(*(request(calls[i % 3], f"k{i}") for i in range(9)))

    assert [one.status for one in relayed] == [201, 422, 422] * 3
    alike = [await direct(service.port, "shop/app", calls[i % 3], f"k{i}") for i in range(9)]
    assert [shown(one) for one in relayed] == [shown(one) for one in alike]


async def test_two_hundred_requests_at_once_travel_together(relay: Relaying) -> None:
    keys = [fresh_key() for _ in range(200)]
    call = ("POST", path("a"), {"amount": 1})

    answers = await relay.together(*(request(call, key) for key in keys))

    assert {one.status for one in answers} == {201}
    assert len({one.body["id"] for one in answers}) == 200
    assert relay.operations_a_call >= 5
    async with relay.client() as client:
        assert (await client.balance("a"))[0] == CREDITS - 200


async def test_one_key_twice_at_once_is_done_once(relay: Relaying) -> None:
    call = ("POST", path("a"), {"amount": 1})

    answers = await relay.together(*[request(call, "same")] * 20)

    assert {one.payload for one in answers} == {answers[0].payload}
    assert sum("idempotency-replayed" not in one.fields for one in answers) == 1


async def test_an_api_that_is_killed_for_seconds_under_load_is_told_and_loses_nothing(
    dsn: str, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", str(free_port))
    async with Relaying(free_port, tmp_path, deadline_seconds=1) as relay:
        with running("-c", API, dsn=dsn) as (process, _):
            async with relay.client() as client:
                await client.account("a", CREDITS)
            load = Load(lambda: relay.port, "a", clients=8)
            await load.__aenter__()
            await load.until(100)
            process.kill()
            await ended(process)
        await asyncio.sleep(3)
        async with relay.client() as client:
            away = await client.consume("a", 1)
            ready = await client.get("/ready")
        with running("-c", API, dsn=dsn):
            before = load.statuses[201]
            async with asyncio.timeout(60):
                while load.statuses[201] < before + 50:  # noqa: ASYNC110 - a count, not an event
                    await asyncio.sleep(0.02)
            await load.stop()
            await load.settle()
            async with relay.client() as client:
                balance = await client.balance("a")

    assert (away.status, away.code) == (503, "shard_unavailable")
    assert away.fields["retry-after"] == "1"
    assert ready.status == 200
    assert set(load.statuses) == {201}
    assert balance[0] == CREDITS - len(load.answers)
    report = await verify(dsn)
    assert report.problem is None
    assert report.transfers == len(load.answers) + 1


async def test_a_token_that_is_replaced_is_shown_at_once(relay: Relaying) -> None:
    async with relay.client() as client:
        relay.token.write_text("expired")
        await asyncio.sleep(1.1)
        refused = await client.consume("a", 1)
        relay.token.write_text("shop/app")

        taken = await client.consume("a", 1)

    assert (refused.status, refused.code) == (401, "unauthenticated")
    assert taken.status == 201


async def test_a_balance_is_never_older_than_the_relays_own_write(relay: Relaying) -> None:
    stale = []

    async def spend_and_look(name: str) -> None:
        async with relay.client() as client:
            for _ in range(30):
                paid = await client.consume(name, 1)
                left = paid.body["balances"][name]["version"]
                seen = (await client.get(f"/v1/accounts/{name}/balance")).body["version"]
                if seen < left:
                    stale.append((left, seen))

    async def look(name: str) -> None:
        async with relay.client() as client:
            for _ in range(100):
                await client.get(f"/v1/accounts/{name}/balance")

    await asyncio.gather(*(spend_and_look("a") for _ in range(4)), *(look("a") for _ in range(4)))

    assert stale == []
    assert relay.front.metrics.balances["memory"] > 0


async def test_a_balance_is_never_older_than_a_second(service: Service, relay: Relaying) -> None:
    async with relay.client() as client, service.client("shop/app") as other:
        before = (await client.balance("a"))[0]
        await other.consume("a", 1)
        soon = (await client.balance("a"))[0]
        await asyncio.sleep(1.01)
        later = (await client.balance("a"))[0]

    assert soon in {before, before - 1}  # The old one, unless the second is over by now.
    assert later == before - 1


async def test_who_waits_for_events_waits_at_the_api_and_in_nobodys_way(relay: Relaying) -> None:
    async with relay.client() as client, relay.client() as waiting:
        last = (await waiting.get("/v1/events?limit=1000")).body["next"]
        quiet = await waiting.get(f"/v1/events?cursor={last}&wait=3")
        waiting.writer.write(waiting.request("GET", f"/v1/events?cursor={last}&wait=20"))
        paid = await client.consume("a", 1)
        told = await waiting.response()

    assert (quiet.status, quiet.body["items"]) == (200, [])
    assert paid.body["id"] in told.payload.decode()


async def test_what_is_only_rehearsed_hides_no_balance(relay: Relaying) -> None:
    async with relay.client() as client:
        await client.call("POST", f"{path('a')}?dry_run=true", {"amount": 5})

        # A relay that waited for the version of the rehearsal would give up in the end.
        assert (await client.balance("a"))[0] == CREDITS


async def test_the_executable_serves_its_pod_and_shows_the_rest_only_probes(
    service: Service, tmp_path: Path, free_port: int
) -> None:
    token = tmp_path / "token"
    token.write_text("shop/app\n")
    command = (
        *("-m", "shieldx", "sidecar", "--relay", f"--upstream=http://127.0.0.1:{service.port}"),
        *(f"--token-file={token}", "--port=0", f"--metrics-port={free_port}"),
    )
    with running(*command) as (process, port):
        async with Client(port) as client, Client(free_port) as probe:
            paid = await client.consume("a", 1)
            outside = [await probe.get(path) for path in ("/health", "/ready", "/metrics", "/v1/x")]
            denied = await probe.consume("a", 1)
        sockets, memory = await asyncio.to_thread(seen_from_outside, process.pid)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0

    assert paid.status == 201
    assert [one.status for one in outside] == [200, 200, 200, 404]
    assert b"shieldx_relay_requests_total" in outside[2].payload
    assert denied.status == 404
    assert re.search(rf"0100007F:{port:04X} 00000000:0000 0A", sockets)
    assert not re.search(rf"00000000:{port:04X} 00000000:0000 0A", sockets)
    resident = re.search(r"VmRSS:\s+(\d+) kB", memory)
    assert resident is not None
    assert int(resident[1]) < 80 * 1024


async def test_what_the_ledger_refused_a_pod_is_read_from_its_relay_as_an_experiment_does(
    service: Service, tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "token").write_text("shop/app")
    command = (
        *("-m", "shieldx", "sidecar", "--relay", f"--upstream=http://127.0.0.1:{service.port}"),
        *(f"--token-file={tmp_path}/token", "--port=0", f"--metrics-port={free_port}"),
    )
    refusals = Counter(
        "refusals", RELAY_ANSWERS, Selector.parse(REFUSED), Selector.parse(DECIDED), "credits"
    )
    pod = Pod("u", "shop", "127.0.0.1", 0, 0, ready=True, ledger="credits", relay_port=free_port)
    with running(*command) as (process, port):
        async with Client(port) as client, aiohttp.ClientSession() as session:
            answers = [await client.consume("shop/1", amount) for amount in (4, 4, 4)]
            await client.balance("shop/1")
            source = RelaysSource(session, PodsSource(session, port=1, path="/metrics"))
            scrape = await source.scrape([refusals], [], [pod], at=0)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0

    assert [it.status for it in answers] == [201, 201, 402]
    reading = scrape.challenger["u"].readings["refusals"]
    assert isinstance(reading, Reading)
    assert sum(it.value for it in reading.series.values()) == 3
    assert sum(it.value for it in reading.series.values() if it.bad) == 1


async def test_sigterm_under_load_answers_everything(service: Service, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("shop/app")
    command = (
        *("-m", "shieldx", "sidecar", "--relay", f"--upstream=http://127.0.0.1:{service.port}"),
        *(f"--token-file={tmp_path}/token", "--port=0"),
    )
    with running(*command) as (process, port):
        async with Load(lambda: port, "a", leave=True) as load:
            await load.until(100)
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 0
            await load.stop()

    assert load.unanswered == set()
    assert set(load.statuses) == {201}
