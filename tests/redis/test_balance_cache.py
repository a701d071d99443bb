"""The balance cache in a real Redis: quick, never a step back, and no loss when it is gone."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from shieldx.ledger.records import Answer, Code
from shieldx.sidecar.balance_cache import BalanceCache
from shieldx.sidecar.redis import SharedMemory
from tests.support.redis import RedisServer


def balance(account: str, version: int, as_of: int = 1) -> dict[str, Any]:
    figures = {"balance": version * 10, "held": 0, "available": version * 10}
    return {"account": account, **figures, "version": version, "as_of": as_of}


class Books:
    """What Postgres would say."""

    def __init__(self) -> None:
        self.now: dict[str, dict[str, Any]] = {}
        self.asked: list[list[str]] = []

    async def fetch(self, ids: list[str]) -> Mapping[str, dict[str, Any]]:
        self.asked.append(ids)
        return {account: self.now[account] for account in ids if account in self.now}


def written(account: str, version: int, *, at: int | None = 1) -> list[Answer]:
    """The answer of a write that left the account so."""
    figures = {k: v for k, v in balance(account, version).items() if k not in {"account", "as_of"}}
    body: dict[str, Any] = {"balances": {account: figures}}
    return [Answer(Code.CREATED, body if at is None else {**body, "at": at})]


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
async def memories(redis: RedisServer) -> AsyncIterator[list[SharedMemory]]:
    made = [SharedMemory(redis.url_file()) for _ in range(2)]
    yield made
    for memory in made:
        await memory.close()


@pytest.fixture
def caches(books: Books, memories: list[SharedMemory]) -> list[BalanceCache]:
    """The caches of two processes."""
    return [BalanceCache(books.fetch, memory, "bank/a/s0") for memory in memories]


async def version(cache: BalanceCache, account: str = "a") -> int:
    return int((await cache.balances([account]))[account]["version"])


async def kept(*caches: BalanceCache) -> None:
    """Wait until everything on its way to Redis has got there."""
    for cache in caches:
        if cache._task is not None:
            await cache._task


async def test_what_one_process_has_read_the_other_need_not(
    books: Books, caches: list[BalanceCache]
) -> None:
    books.now = {"a": balance("a", 3), "b": balance("b", 4)}
    first = await caches[0].balances(["a", "b", "nobody"])
    await kept(caches[0])

    second = await caches[1].balances(["a", "b", "nobody"])

    assert first == second == books.now
    assert books.asked == [["a", "b", "nobody"], ["nobody"]]
    assert (caches[1].hits, caches[1].misses) == (2, 1)


async def test_an_acknowledged_write_is_read_by_both(
    books: Books, caches: list[BalanceCache]
) -> None:
    caches[0].acknowledged(written("a", 8, at=5))
    await kept(caches[0])

    assert (await caches[1].balances(["a"]))["a"] == balance("a", 8, as_of=5)
    assert books.asked == []


@pytest.mark.parametrize("at", [1, None])
async def test_no_reader_goes_back_behind_what_its_process_acknowledged(
    books: Books, caches: list[BalanceCache], at: int | None
) -> None:
    """Before Redis has heard of the write, too."""
    books.now["a"] = balance("a", 1)
    assert await version(caches[0]) == 1
    await kept(caches[0])
    books.now["a"] = balance("a", 2)

    caches[0].acknowledged(written("a", 2, at=at))

    assert await version(caches[0]) == 2
    await kept(caches[0])
    assert await version(caches[1]) == 2


async def test_an_older_value_never_replaces_a_newer_one(
    books: Books, caches: list[BalanceCache]
) -> None:
    caches[0].acknowledged(written("a", 9))
    await kept(caches[0])
    books.now["a"] = balance("a", 7)

    # A slow reader that had asked Postgres before.
    caches[1]._forgot_at = caches[1]._monotonic()
    await caches[1].balances(["a"])
    await kept(caches[1])

    assert await version(caches[0]) == 9


async def test_of_one_version_the_later_look_is_kept(
    books: Books, caches: list[BalanceCache]
) -> None:
    """Time alone changes what is held, without a new version."""
    for as_of in (5, 9, 7):
        books.now["a"] = balance("a", 1, as_of=as_of)
        caches[0]._forgot_at = caches[0]._monotonic()
        await caches[0].balances(["a"])
        await kept(caches[0])

    assert (await caches[1].balances(["a"]))["a"]["as_of"] == 9


async def test_a_rehearsed_or_replayed_answer_teaches_nothing(caches: list[BalanceCache]) -> None:
    (answer,) = written("a", 3)
    refused = Answer(Code.INSUFFICIENT_CREDITS, answer.body)
    replayed = Answer(answer.code, answer.body, replayed=True)

    caches[0].acknowledged([refused, replayed])

    assert caches[0]._leaving == {}


async def test_what_was_forgotten_is_not_believed_for_a_while(
    books: Books, memories: list[SharedMemory]
) -> None:
    now = 100.0
    cache = BalanceCache(books.fetch, memories[0], "bank/a/s0", capacity=1, monotonic=lambda: now)
    other = BalanceCache(books.fetch, memories[1], "bank/a/s0")
    books.now["a"] = balance("a", 1)
    await other.balances(["a"])
    await kept(other)
    books.now["a"] = balance("a", 2)
    cache._told["a"] = (2, now)
    cache._tell("b", 1)

    assert await version(cache) == 2


async def test_a_value_lives_for_a_second(books: Books, caches: list[BalanceCache]) -> None:
    books.now["a"] = balance("a", 1)
    await caches[0].balances(["a"])
    await kept(caches[0])
    books.now["a"] = balance("a", 2)

    await asyncio.sleep(1.1)

    assert await version(caches[1]) == 2


async def test_a_value_that_was_long_on_its_way_is_not_kept(
    books: Books, memories: list[SharedMemory], caches: list[BalanceCache]
) -> None:
    times = iter([100.0, 100.0, 102.0])
    late = BalanceCache(books.fetch, memories[0], "bank/a/s0", monotonic=lambda: next(times, 102.0))
    late.acknowledged(written("a", 1))
    await kept(late)
    books.now["a"] = balance("a", 2)

    assert await version(caches[1]) == 2


@pytest.mark.parametrize("harm", ["kill", "freeze"])
async def test_without_redis_postgres_is_asked(
    redis: RedisServer,
    books: Books,
    caches: list[BalanceCache],
    harm: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis.harm(harm, monkeypatch)
    for number in range(1, 6):
        books.now["a"] = balance("a", number)
        caches[0].acknowledged(written("a", number))
        assert await version(caches[0]) == number
    redis.heal(harm, monkeypatch)


async def test_readers_and_writers_of_two_processes_never_see_a_step_back(
    books: Books, caches: list[BalanceCache]
) -> None:
    """Each process writes and reads at once; what it reads never falls behind what it has seen."""
    books.now["a"] = balance("a", 0, as_of=0)
    newest = 0

    async def write(cache: BalanceCache, seen: list[int]) -> None:
        nonlocal newest
        for _ in range(50):
            newest += 1
            mine = newest
            books.now["a"] = balance("a", mine, as_of=mine)
            cache.acknowledged(written("a", mine, at=mine))
            seen.append(mine)
            await asyncio.sleep(0.001 * (mine % 3))

    async def read(cache: BalanceCache, seen: list[int]) -> None:
        for _ in range(100):
            floor = max(seen, default=0)
            told = await version(cache)
            assert told >= floor
            seen.append(told)

    def work(cache: BalanceCache, seen: list[int]) -> Sequence[Any]:
        return [write(cache, seen), read(cache, seen)]

    await asyncio.gather(*work(caches[0], []), *work(caches[1], []))
    await kept(*caches)
    assert caches[0].hits + caches[1].hits > 0
