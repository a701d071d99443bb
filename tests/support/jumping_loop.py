"""An event loop whose time jumps: nobody waits, and what takes an hour is tested at once.

It is for code that sleeps and sets deadlines but does no I/O. Whenever everybody waits, its clock
is put forward to the first who is due; so nothing depends on how busy the machine is.
"""

import asyncio
import selectors
from collections.abc import Coroutine


class _Jumping(selectors.DefaultSelector):
    """Never blocks; tells how long it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.jumped_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for somebody who will never come"
            self.jumped_seconds += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.jumped_seconds


def jump[T](work: Coroutine[object, object, T]) -> T:
    """Run it to its end on a loop of its own, whose time begins with zero."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)
