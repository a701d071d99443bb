"""What the relay makes of an API that is not there, breaks off, hangs, or is somebody else."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shieldx.ledger.relay import NotSentError, Standing, UnknownOutcomeError
from shieldx.sidecar.relay.carriers import Together, standing
from shieldx.sidecar.relay.items import Item, Told
from shieldx.sidecar.relay.upstream import TokenFile, Upstream

type Reaction = Callable[[bytes], Awaitable[bytes | None]]

ITEM = Item("POST", b"/v1/accounts/a/consume", b"", b"k", b"{}", b'{"type":"consume"}')


def answer(payload: str, status: str = "200 OK", fields: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(payload)}\r\n{fields}\r\n"
    return head.encode() + payload.encode()


@asynccontextmanager
async def calling(folder: Path, react: Reaction) -> AsyncIterator[Upstream]:
    """An upstream before a server that reacts to whole requests; None breaks off."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            reaction = await react(head)
            if reaction is not None:
                writer.write(reaction)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (folder / "token").write_text("mine\n")
    upstream = Upstream(f"http://127.0.0.1:{port}", TokenFile(folder / "token"))
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()
        server.close()
        server.close_clients()


async def test_a_request_arrives_as_it_came_with_the_pods_own_token(tmp_path: Path) -> None:
    seen = []

    async def react(head: bytes) -> bytes:
        seen.append(head)
        return answer("{}")

    async with calling(tmp_path, react) as upstream:
        await upstream.call(Item("GET", b"/v1/accounts/a%2Fb", b"at=2026%2B1&x=", None, b""))

    first, *lines = seen[0].decode().strip().split("\r\n")
    assert first == "GET /v1/accounts/a%2Fb?at=2026%2B1&x= HTTP/1.1"
    assert {line.split(":")[0].lower() for line in lines} == {"host", "authorization"}
    assert "Authorization: Bearer mine" in lines


async def test_two_keys_are_passed_on_as_two(tmp_path: Path) -> None:
    seen = []

    async def react(head: bytes) -> bytes:
        seen.append(head)
        return answer("{}")

    async with calling(tmp_path, react) as upstream:
        await upstream.call(Item("POST", b"/v1/holds", b"", b"one\0two", b""))

    assert b"Idempotency-Key: one\r\n" in seen[0]
    assert b"Idempotency-Key: two\r\n" in seen[0]


async def test_where_nobody_listens_nothing_was_sent(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("mine")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    upstream = Upstream(f"http://127.0.0.1:{port}", TokenFile(tmp_path / "token"))
    await upstream.start()

    with pytest.raises(NotSentError):
        await upstream.call(ITEM)
    await upstream.close()


async def test_an_answer_that_breaks_off_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    async def react(_: bytes) -> None:
        return None

    async with calling(tmp_path, react) as upstream:
        with pytest.raises(UnknownOutcomeError):
            await upstream.call(ITEM)


async def test_an_api_that_hangs_is_given_up_with_the_outcome_unknown(tmp_path: Path) -> None:
    async def react(_: bytes) -> None:
        await asyncio.sleep(5)

    async with calling(tmp_path, react) as upstream:
        with pytest.raises(UnknownOutcomeError):
            await upstream.call(ITEM, 0.1)


async def test_an_api_that_is_silent_for_a_while_is_away_until_it_answers(tmp_path: Path) -> None:
    gone = True

    async def react(_: bytes) -> bytes | None:
        return None if gone else answer("{}")

    async with calling(tmp_path, react) as upstream:
        with pytest.raises(UnknownOutcomeError):
            await upstream.call(ITEM)
        assert not upstream.away
        async with asyncio.timeout(30):
            while not upstream.away:  # noqa: ASYNC110 - a state, not an event
                await asyncio.sleep(0.02)
            gone = False
            while upstream.away:  # noqa: ASYNC110 - a state, not an event
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("content", [None, "", "two\nlines", "ü"])
async def test_without_a_token_nothing_is_sent(tmp_path: Path, content: str | None) -> None:
    async def react(_: bytes) -> bytes:
        raise AssertionError("nothing shall come")

    async with calling(tmp_path, react) as upstream:
        token = tmp_path / "token"
        token.unlink()
        if content is not None:
            token.write_text(content)

        with pytest.raises(NotSentError):
            await upstream.call(ITEM)


@pytest.mark.parametrize(
    "payload", ["", "[]", '{"results":[]}', '{"results":[{"status":201},{"code":"created"}]}']
)
async def test_an_answer_to_a_batch_that_cannot_be_read_is_as_good_as_lost(
    tmp_path: Path, payload: str
) -> None:
    async def react(_: bytes) -> bytes:
        return answer(payload)

    async with calling(tmp_path, react) as upstream:
        with pytest.raises(UnknownOutcomeError):
            await Together(upstream).send([ITEM, ITEM])


async def test_the_replays_of_a_batch_are_told_apart(tmp_path: Path) -> None:
    results = ",".join('{"status":201,"code":"created","id":"t"}' for _ in range(3))

    async def react(_: bytes) -> bytes:
        fields = "idempotency-replayed-operations: 0,2\r\n"
        return answer(f'{{"results":[{results}]}}', fields=fields)

    async with calling(tmp_path, react) as upstream:
        given = await Together(upstream).send([ITEM] * 3)

    assert [bool(one.fields) for one in given] == [True, False, True]
    assert given[0].payload == b'{"id":"t"}'


async def test_a_limit_of_one_account_is_told_with_its_time(tmp_path: Path) -> None:
    limited = {"status": 429, "code": "rate_limited", "message": "m", "retry_after_seconds": 7}
    poor = {"status": 402, "code": "insufficient_credits", "message": "m", "available": 1}

    async def react(_: bytes) -> bytes:
        return answer(json.dumps({"results": [limited, poor]}))

    async with calling(tmp_path, react) as upstream:
        first, second = await Together(upstream).send([ITEM] * 2)

    assert (first.status, first.fields) == (429, b"retry-after: 7\r\n")
    assert json.loads(first.payload)["title"] == "Too Many Requests"
    assert (second.status, second.fields) == (402, b"")
    assert json.loads(second.payload) == {
        **poor,
        "type": "urn:shieldx:problem:insufficient_credits",
        "title": "Payment Required",
    }


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Told(201, b"{}"), Standing.SETTLED),
        (Told(402, b"{}", "insufficient_credits"), Standing.SETTLED),
        (Told(429, b"{}", "rate_limited"), Standing.SETTLED),
        (Told(500, b"{}", "internal_error"), Standing.SETTLED),
        (Told(503, b"{}", "shard_unavailable"), Standing.NOT_DONE),
        (Told(503, b"{}", "overloaded"), Standing.NOT_DONE),
        (Told(503, b"{}", "authentication_unavailable"), Standing.NOT_DONE),
        (Told(503, b"{}", "outcome_unknown"), Standing.UNKNOWN),
        (Told(502, b"<html>"), Standing.UNKNOWN),
        (Told(504, b""), Standing.UNKNOWN),
    ],
    ids=str,
)
def test_only_an_answer_of_the_books_or_a_refusal_for_good_is_the_last_word(
    told: Told, expected: Standing
) -> None:
    assert standing(told) is expected
