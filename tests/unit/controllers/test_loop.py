"""The loop of one object: woken by its bell, patient after failures, alone under its lock."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from controllers import loop
from controllers.loop import Bells, Locks, reconcile_forever

KEY = ("ledger", "ns", "credits")
LONG = timedelta(hours=1)


class Stop:
    """Becomes true after so many passes."""

    def __init__(self) -> None:
        self.now = False

    def __bool__(self) -> bool:
        return self.now


class Passes:
    """Counts passes, and ends the loop with the last."""

    def __init__(self, stop: Stop, last: int, pause: timedelta = timedelta()) -> None:
        self.count = 0
        self._stop, self._last, self._pause = stop, last, pause

    async def __call__(self) -> timedelta:
        self.count += 1
        if self.count >= self._last:
            self._stop.now = True
            return timedelta()
        return self._pause


async def run(
    passes: Callable[[], "asyncio.Future[timedelta]"] | Passes,
    stop: Stop,
    bell: asyncio.Event,
    lock: asyncio.Lock | None = None,
) -> None:
    await reconcile_forever(
        passes,
        stopped=stop,
        bell=bell,
        lock=lock or asyncio.Lock(),
        work=asyncio.Semaphore(1),
    )


async def test_who_waits_for_an_answer_holds_up_nobody() -> None:
    silence, work, stop = asyncio.Event(), asyncio.Semaphore(1), Stop()
    passes = Passes(stop, last=3)

    async def hang() -> None:
        await silence.wait()

    waiting = asyncio.create_task(
        reconcile_forever(
            passes,
            stopped=Stop(),
            bell=asyncio.Event(),
            lock=asyncio.Lock(),
            work=work,
            prepare=hang,
        )
    )
    await asyncio.sleep(0)
    await reconcile_forever(
        passes, stopped=stop, bell=asyncio.Event(), lock=asyncio.Lock(), work=work
    )

    assert passes.count == 3
    waiting.cancel()


async def test_each_pass_is_prepared() -> None:
    stop, prepared = Stop(), 0
    passes = Passes(stop, last=3)

    async def prepare() -> None:
        nonlocal prepared
        prepared += 1
        assert passes.count == prepared - 1

    await reconcile_forever(
        passes,
        stopped=stop,
        bell=asyncio.Event(),
        lock=asyncio.Lock(),
        work=asyncio.Semaphore(1),
        prepare=prepare,
    )

    assert prepared == passes.count == 3


async def test_a_bell_ends_the_pause() -> None:
    bells, stop = Bells(), Stop()
    passes = Passes(stop, last=2, pause=LONG)

    with bells.listening(KEY) as bell:
        task = asyncio.create_task(run(passes, stop, bell))
        await asyncio.sleep(0.01)
        assert passes.count == 1
        bells.ring(KEY)
        await task

    assert passes.count == 2


async def test_a_bell_without_a_listener_is_no_error() -> None:
    Bells().ring(KEY)


async def test_the_end_of_a_pause_is_another_pass() -> None:
    stop = Stop()
    passes = Passes(stop, last=3, pause=timedelta(milliseconds=1))

    await run(passes, stop, asyncio.Event())

    assert passes.count == 3


async def test_failures_are_retried_at_growing_distances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "FIRST_RETRY", timedelta(milliseconds=1))
    monkeypatch.setattr(loop, "LAST_RETRY", timedelta(milliseconds=4))
    stop, times = Stop(), list[float]()

    async def failing() -> timedelta:
        times.append(asyncio.get_running_loop().time())
        stop.now = len(times) == 6
        raise RuntimeError("on purpose")

    await reconcile_forever(
        failing,
        stopped=stop,
        bell=asyncio.Event(),
        lock=asyncio.Lock(),
        work=asyncio.Semaphore(1),
    )

    assert len(times) == 6
    assert times[-1] - times[0] >= (1 + 2 + 4 + 4) / 1000


async def test_no_pass_begins_while_the_deletion_handler_has_the_lock() -> None:
    locks, stop = Locks(), Stop()
    passes = Passes(stop, last=1)

    async with locks.of(KEY):
        task = asyncio.create_task(run(passes, stop, asyncio.Event(), locks.of(KEY)))
        await asyncio.sleep(0.01)
        assert passes.count == 0
        stop.now = True
    await task

    assert passes.count == 0


def test_a_lock_is_the_same_until_it_is_forgotten() -> None:
    locks = Locks()
    first = locks.of(KEY)

    assert locks.of(KEY) is first
    locks.forget(KEY)
    assert locks.of(KEY) is not first
