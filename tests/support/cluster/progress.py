"""Says what is being done and how long it took, while it is being done."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

EVERY_SECONDS: Final = 15.0


def say(text: str) -> None:
    """Print one line at once."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say `what` and, when it is done or now and then while it is not, the seconds it took."""
    began, done = time.monotonic(), threading.Event()

    def remind() -> None:
        while not done.wait(EVERY_SECONDS):
            say(f"  … {what}: {time.monotonic() - began:.0f} s")

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
    say(f"  ✓ {what} ({time.monotonic() - began:.1f} s)")
