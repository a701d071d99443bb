"""One after the other: what two processes that run tests must not do to the machine at once."""

import contextlib
import fcntl
from collections.abc import Iterator

from tests.support.cluster.layout import cache_folder


@contextlib.contextmanager
def turn(name: str) -> Iterator[None]:
    """Wait until nobody else does what goes by this name."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
