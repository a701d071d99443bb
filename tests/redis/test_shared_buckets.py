"""Token buckets in a real Redis: shared, exact, one round trip for many, and gone when it is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from shieldx.breaker import State
from shieldx.sidecar.buckets import Ask, Claim, LocalBuckets, Rate, Waits
from shieldx.sidecar.redis import RedisAwayError, SharedMemory
from shieldx.sidecar.shared_buckets import SharedBuckets
from tests.support.redis import RedisServer

SLOW = Rate(per_second=0.01, burst=10)


class Counted(SharedMemory):
    """Counts round trips."""

    trips = 0

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[bytes | str]) -> Any:
        self.trips += 1
        return await super().run(script, keys, arguments)


@pytest.fixture
async def memory(redis: RedisServer) -> AsyncIterator[Counted]:
    memory = Counted(redis.url_file())
    yield memory
    await memory.close()


def ask(*claims: tuple[str, int], rate: Rate = SLOW) -> Ask:
    return tuple(Claim(bucket, cost, rate) for bucket, cost in claims)


def state(memory: SharedMemory) -> State:
    return memory.breaker.state


async def taken(buckets: SharedBuckets, *asks: Ask) -> list[Waits | None]:
    """Ask all in one turn of the loop."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Waits | None]] = [loop.create_future() for _ in asks]
    for one, future in zip(asks, futures, strict=True):
        buckets.take(one, future.set_result)
    async with asyncio.timeout(30):
        return list(await asyncio.gather(*futures))


async def test_two_processes_share_one_burst(redis: RedisServer, memory: Counted) -> None:
    other_memory = SharedMemory(redis.url_file())
    one, other = SharedBuckets(memory, "bank/a"), SharedBuckets(other_memory, "bank/a")

    answers = [
        *await taken(one, *[ask(("client", 1))] * 12),
        *await taken(other, *[ask(("client", 1))] * 12),
    ]

    assert [wait == (0.0,) for wait in answers] == [True] * 10 + [False] * 14
    assert await taken(SharedBuckets(memory, "bank/b"), ask(("client", 1))) == [(0.0,)]
    await other_memory.close()


async def test_what_one_turn_of_the_loop_asks_is_one_round_trip(memory: Counted) -> None:
    buckets = SharedBuckets(memory, "bank/a")

    answers = await taken(buckets, *[ask((f"c{n}", 1), (f"a{n}", 1)) for n in range(500)])

    assert answers == [(0.0, 0.0)] * 500
    assert memory.trips == 1


async def test_more_than_a_script_takes_is_parted(memory: Counted) -> None:
    buckets = SharedBuckets(memory, "bank/a")
    whole = ask(("c", 1), *[(f"a{n}", 1) for n in range(1000)])

    answers = await taken(buckets, whole, whole, whole)

    assert [len(answer or ()) for answer in answers] == [1001] * 3
    assert memory.trips == 3


async def test_what_claims_nothing_is_granted_without_a_round_trip(memory: Counted) -> None:
    assert await taken(SharedBuckets(memory, "bank/a"), ask(), ask()) == [(), ()]

    assert memory.trips == 0


async def test_the_script_and_the_local_buckets_follow_the_same_rules(memory: Counted) -> None:
    """The same asks, with a clock that hardly moves, get the same answers."""
    shared, local = SharedBuckets(memory, "bank/a"), LocalBuckets(lambda: 0.0)
    asks = [
        ask(("c", 3)),
        ask(("c", 2), ("a", 9)),
        ask(("c", 1), ("a", 2)),  # the account is short: nothing is taken
        ask(("c", 5), ("a", 1), ("b", 4)),
        ask(("c", 1), ("d", 1)),  # the client is short: nothing is taken
        ask(("e", 25)),  # more than the burst
        ask(("e", 1)),
        ask(("d", 10)),
        ask(("x", 4), ("b", 7), ("a", 3)),
    ]

    answers = await taken(shared, *asks)

    for one, answer in zip(asks, answers, strict=True):
        assert answer == pytest.approx(local.take(one), abs=2.0)
        assert answer is not None
        assert [wait > 0 for wait in answer].count(True) <= 2


async def test_a_bucket_fills_by_the_time_of_redis(memory: Counted) -> None:
    buckets = SharedBuckets(memory, "bank/a")
    fast = Rate(per_second=20.0, burst=1)
    first, second = await taken(buckets, *[ask(("a", 1), rate=fast)] * 2)
    assert first == (0.0,)
    assert second is not None
    assert 0.0 < second[0] <= 0.05

    await asyncio.sleep(second[0])

    assert await taken(buckets, ask(("a", 1), rate=fast)) == [(0.0,)]


async def test_redis_forgets_a_bucket_that_is_full_again(
    redis: RedisServer, memory: Counted
) -> None:
    await taken(SharedBuckets(memory, "bank/a"), ask(("a", 4), rate=Rate(0.1, 100)))
    client = Redis.from_url(redis.url)

    keys = await client.keys("*")

    assert keys == [b"shieldx:{bank/a}:bucket:a"]
    assert 30_000 < await client.pttl(keys[0]) <= 40_000
    await client.aclose()


@pytest.mark.parametrize("harm", ["kill", "freeze"])
async def test_without_redis_everybody_is_told_soon(
    redis: RedisServer, memory: Counted, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets = SharedBuckets(memory, "bank/a")
    assert await taken(buckets, ask(("a", 1))) == [(0.0,)]
    redis.harm(harm, monkeypatch)

    for _ in range(3):
        assert await taken(buckets, *[ask(("a", 1))] * 50) == [None] * 50

    assert state(memory) is State.OPEN
    redis.heal(harm, monkeypatch)
    async with asyncio.timeout(30):
        while await taken(buckets, ask(("a", 1))) == [None]:  # noqa: ASYNC110 — until it is back
            await asyncio.sleep(0.05)
    assert state(memory) is State.CLOSED


async def test_an_address_that_appears_later_is_taken_up(redis: RedisServer) -> None:
    file = redis.url_file()
    file.write_text("redis//:password@nowhere")
    memory = SharedMemory(file)
    for _ in range(2):
        with pytest.raises(RedisAwayError):
            await memory.run("buckets", [], [])

    redis.url_file()
    buckets = SharedBuckets(memory, "bank/a")
    async with asyncio.timeout(30):
        while await taken(buckets, ask(("a", 1))) == [None]:  # noqa: ASYNC110 — as above
            await asyncio.sleep(0.05)
    await memory.close()


async def test_an_end_tells_who_waits(memory: Counted) -> None:
    buckets = SharedBuckets(memory, "bank/a")
    told: list[Waits | None] = []
    buckets.take(ask(("a", 1)), told.append)
    buckets.take(ask(("a", 1)), told.append)

    await buckets.close()

    assert told == [None, None]
