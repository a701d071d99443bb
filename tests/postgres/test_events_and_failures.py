"""What came to nothing is told by no event, and what was done by one, whatever broke meanwhile.

An event is a row of the chain, so it cannot say other than what was stored; these tests hold the
whole way to that: batches that are refused, that Postgres refuses at the very commit, whose commit
is cut off before it and behind, and a writer that is killed under their load.
"""

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
import pytest

from shieldx.ledger.verify import verify
from tests.support.api import Client, Response, Service, fresh_key
from tests.support.proxy import Fault, Proxy, proxied
from tests.support.takeover import another
from tests.support.trio import trio

pytestmark = pytest.mark.postgres

TYPE: Final = "io.shieldx.ledger."
CREDITS: Final = 1_000_000
# What Postgres has no objection to until the transaction wants to commit.
REFUSE_AT_COMMIT: Final = """
create function refuse() returns trigger language plpgsql as
$$ begin raise exception 'not this one'; end $$;
create constraint trigger refuse after insert on transfers deferrable initially deferred
for each row when (new.kind = 'poison') execute function refuse();
"""


class Reader:
    """Follows the events, refusals too, from the first one on, and comes back where it was."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.found: list[dict[str, Any]] = []
        self._cursor = ""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def caught_up(self) -> list[dict[str, Any]]:
        """Return all there are, when they have all come."""
        whole: list[dict[str, Any]] = []
        cursor = ""
        async with Client(self.port) as client, asyncio.timeout(60):
            while True:
                page = await self._page(client, cursor, wait=0)
                if page is None:  # The ledger cannot be read now.
                    await asyncio.sleep(0.05)
                    continue
                whole += page["items"]
                cursor = page["next"]
                if not page["items"]:
                    break
            while len(self.found) < len(whole):  # noqa: ASYNC110 - a count
                await asyncio.sleep(0.01)
        assert self.found == whole
        return whole

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with Client(self.port) as client:
                    while page := await self._page(client, self._cursor, wait=1):
                        self.found += page["items"]
                        self._cursor = page["next"]
            await asyncio.sleep(0.02)

    async def _page(self, client: Client, cursor: str, *, wait: int) -> dict[str, Any] | None:
        place = f"&cursor={cursor}" if cursor else ""
        answer = await client.get(f"/v1/events?include=refusals&wait={wait}{place}")
        return answer.body if answer.status == 200 else None


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[Service]:
    async with Service(dsn) as service, service.client() as client:
        await client.account("a", CREDITS)
        yield service


def consume(amount: int, key: str = "", part: int = 0) -> dict[str, object]:
    metadata = {"key": key, "part": part}
    return {"type": "consume", "account": "a", "amount": amount, "metadata": metadata}


async def atomically(client: Client, key: str, *operations: dict[str, object]) -> Response:
    return await client.post("/v1/batch", {"atomic": True, "operations": operations}, key)


def told(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of what came after the account was opened and filled, in its order."""
    ids = [int(event["id"].removeprefix("s0-")) for event in events]
    assert ids == sorted(set(ids))
    return [event["type"].removeprefix(TYPE) for event in events[2:]]


async def test_an_atomic_batch_that_is_refused_is_one_refusal_and_nothing_else(
    service: Service,
) -> None:
    async with service.client() as client, Reader(service.port) as reader:
        for _ in range(2):  # The second time it is a replay.
            refused = await atomically(client, "k", consume(1), consume(2 * CREDITS), consume(1))
            assert (refused.status, refused.code) == (402, "insufficient_credits")
        assert (await atomically(client, "shape", consume(1), consume(-1))).status == 400
        dry = {"atomic": True, "operations": [consume(1)]}
        assert (await client.post("/v1/batch?dry_run=true", dry)).status == 201
        assert (await atomically(client, "good", consume(1), consume(2))).status == 201

        events = await reader.caught_up()

        assert told(events) == [
            "batch.insufficient_credits",
            "transfer.created",
            "transfer.created",
        ]
        results = events[2]["data"]["answer"]["results"]
        aborted = ["batch_aborted", "insufficient_credits", "batch_aborted"]
        assert [one["code"] for one in results] == aborted
        plain = (await client.get("/v1/events")).body["items"]
        assert plain == [event for event in events if event["type"].endswith(".created")]


async def test_what_postgres_refuses_at_the_commit_is_not_told(service: Service, dsn: str) -> None:
    superuser = await asyncpg.connect(dsn)
    await superuser.execute(REFUSE_AT_COMMIT)
    poison = {"type": "transfer", "debit": "a", "credit": "system/revenue", "amount": 5}
    poison["kind"] = "poison"
    async with service.client() as client, Reader(service.port) as reader:
        beside = [service.client() for _ in range(5)]
        async with contextlib.AsyncExitStack() as stack:
            for one in beside:
                await stack.enter_async_context(one)
            refused, *others = await asyncio.gather(
                atomically(client, "k", consume(1), poison, consume(2)),
                *(one.consume("a", 3) for one in beside),
            )
        assert (refused.status, refused.code) == (500, "internal_error")
        assert [one.status for one in others] == [201] * 5
        assert told(await reader.caught_up()) == ["transfer.created"] * 5

        await superuser.execute("drop trigger refuse on transfers")
        assert (await atomically(client, "k", consume(1), poison, consume(2))).status == 201

        events = await reader.caught_up()
        assert told(events) == ["transfer.created"] * 8
        amounts = [event["data"]["operation"]["amount"] for event in events[2:]]
        assert amounts == [3] * 5 + [1, 5, 2]
    await superuser.close()
    assert (await verify(dsn)).problem is None


@pytest.fixture
async def behind(dsn: str) -> AsyncIterator[tuple[Service, Proxy]]:
    """A service whose way to Postgres leads through a proxy."""
    with tempfile.TemporaryDirectory() as folder:
        async with proxied(dsn, Path(folder)) as (through, proxy), Service(through) as service:
            async with service.client() as client:
                await client.account("a", CREDITS)
            yield service, proxy


@pytest.mark.parametrize(("fault", "done"), [(Fault.CUT_BEFORE, 0), (Fault.CUT_AFTER, 2)])
async def test_a_batch_whose_commit_is_cut_off_is_told_once_or_not_at_all(
    behind: tuple[Service, Proxy], fault: Fault, done: int
) -> None:
    service, proxy = behind
    async with service.client() as client, Reader(service.port) as reader:
        proxy.arm(fault, b"marked")
        first = await atomically(client, "k", consume(1, "marked"), consume(2))
        assert (first.status, first.code) == (503, "outcome_unknown")
        assert proxy.fired == 1
        assert told(await reader.caught_up()) == ["transfer.created"] * done

        async with asyncio.timeout(60):
            while True:
                again = await atomically(client, "k", consume(1, "marked"), consume(2))
                if again.status != 503:
                    break

        assert again.status == 201
        assert (again.fields.get("idempotency-replayed") == "true") == bool(done)
        events = await reader.caught_up()
        assert told(events) == ["transfer.created"] * 2


class Batches:
    """A client of atomic batches of two: every third one is refused, since it asks too much."""

    def __init__(self, port: Callable[[], int]) -> None:
        self.answers: dict[str, int] = {}
        self._port = port
        self._open: set[str] = set()
        self._stopped = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        await self._task

    async def more(self, count: int) -> None:
        wanted = len(self.answers) + count
        async with asyncio.timeout(60):
            while len(self.answers) < wanted:  # noqa: ASYNC110 - a count
                await asyncio.sleep(0.01)

    async def settle(self) -> None:
        """Ask again by key for all that has no answer or no certain one."""
        async with asyncio.timeout(60):
            for key in [*self._open, *(k for k, s in self.answers.items() if s == 503)]:
                while True:
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                        async with Client(self._port()) as client:
                            answer = await self._send(client, key)
                        if answer.status != 503:
                            break
                    await asyncio.sleep(0.05)

    async def _work(self) -> None:
        while not self._stopped:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with Client(self._port()) as client:
                    while not self._stopped:
                        poor = len(self.answers) % 3 == 0
                        await self._send(client, f"{'poor' if poor else 'good'}-{fresh_key()}")
            await asyncio.sleep(0.02)

    async def _send(self, client: Client, key: str) -> Response:
        self._open.add(key)
        second = consume(2 * CREDITS if key.startswith("poor") else 1, key, 1)
        answer = await atomically(client, key, consume(1, key, 0), second)
        self._open.discard(key)
        self.answers[key] = answer.status
        return answer


async def test_a_writer_that_is_killed_under_batches_is_told_of_exactly_once(
    dsn: str, tmp_path: Path
) -> None:
    async with trio(dsn, tmp_path) as servers:
        writer, relay, other = servers.servers
        async with Client(relay.port) as client:
            await client.account("a", CREDITS)
        ports = [writer.port, relay.port, other.port, writer.port, relay.port]
        loads = [Batches(lambda n=n: ports[n]) for n in range(len(ports))]  # type: ignore[misc]
        async with Reader(other.port) as reader:
            async with contextlib.AsyncExitStack() as stack:
                for load in loads:
                    await stack.enter_async_context(load)
                await asyncio.gather(*(load.more(15) for load in loads))
                writer.process.kill()
                ports[:] = [relay.port if port == writer.port else port for port in ports]
                await another(servers, writer)
                await asyncio.gather(*(load.more(15) for load in loads))
            for load in loads:
                await load.settle()

            events = await reader.caught_up()

    answers = {key: status for load in loads for key, status in load.answers.items()}
    expected = Counter(
        ("transfer.created", key, part)
        for key, status in answers.items()
        for part in (0, 1)
        if status == 201
    )
    expected.update(
        ("batch.insufficient_credits", key, 0) for key, status in answers.items() if status == 402
    )
    assert set(answers.values()) == {201, 402}
    assert Counter(zip(told(events), *whose(events), strict=True)) == expected
    report = await verify(dsn)
    assert report.problem is None
    assert report.transfers == 1 + 2 * list(answers.values()).count(201)


def whose(events: list[dict[str, Any]]) -> tuple[list[str], list[int]]:
    """Return the keys and parts of batches that the events after the first two are about."""
    operations = [event["data"]["operation"] for event in events[2:]]
    marks = [one.get("operations", [one])[0]["metadata"] for one in operations]
    return [mark["key"] for mark in marks], [mark["part"] for mark in marks]
