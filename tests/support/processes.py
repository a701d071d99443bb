"""The processes that tests leave behind: adopted by this one, so that they are found and ended.

What a killed test has started belongs to nobody and would run on. As the adopting parent of all
its descendants this process can tell them by their parents, and by nothing else.
"""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Final

PR_SET_CHILD_SUBREAPER: Final = 36
LONGEST_COMMAND: Final = 200


def adopt() -> None:
    """Become the parent of whatever descendant loses its own."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end(patience_seconds: float) -> list[str]:
    """Kill every descendant that does not end by itself soon, and say what it was."""
    until = time.monotonic() + patience_seconds
    while descendants() and time.monotonic() < until:
        time.sleep(0.05)
    killed: dict[int, str] = {}
    # Who is killed may just have begun another.
    for _ in range(100):
        for pid in descendants():
            killed.setdefault(pid, command(pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        if not descendants():
            break
    return list(killed.values())


def descendants() -> list[int]:
    """Return who lives of our children, their children, and so on; bury those who have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    found = children(os.getpid())
    for pid in found:
        found += children(pid)
    return found


def children(parent: int) -> list[int]:
    """Return the processes that this one has begun or adopted."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def command(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        return " ".join(" ".join(words).split())[:LONGEST_COMMAND]
    return f"process {pid}"
