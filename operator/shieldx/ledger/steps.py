"""The named steps of the write path, and a process that dies at one of them when told to.

`SHIELDX_CRASH_AT=STEP` or `STEP:N` makes the process kill itself (SIGKILL: no handler, no flush, no
goodbye) when it gets there the Nth time. Crash tests set it on a process of its own; where it is
not set, a step costs one comparison.
"""

import asyncio
import os
import signal
from enum import StrEnum
from typing import Final

VARIABLE: Final = "SHIELDX_CRASH_AT"


class Step(StrEnum):
    """Where a process may die; after each of them everything must come out right."""

    MIGRATION_LOCKED = "migration-locked"  # nobody else migrates now
    MIGRATION_APPLIED = "migration-applied"  # a migration has run, and is not committed
    MIGRATED = "migrated"  # all are committed, the lock is still held
    CONNECTED = "connected"  # a connection for writing is open, nothing is loaded
    TAKEN = "taken"  # jobs have left the queue
    LOADED = "loaded"  # everything that they touch is known
    DECIDED = "decided"  # answers and changes exist in memory only
    MERGED = "merged"  # memory is as if they were durable
    STORING = "storing"  # the next thing is to send them
    STORE_SENT = "store-sent"  # the bytes have left, no answer has come
    AHEAD = "ahead"  # jobs are decided on what may not be durable yet
    STORED = "stored"  # Postgres has answered, the callers know nothing
    ANSWERED = "answered"  # the answers are on their way to the connections
    HEAD_LOCKED = "head-locked"  # after several refusals: the head is locked for one batch
    COMMITTING = "committing"  # its COMMIT has left, no answer has come
    EXPIRY_FOUND = "expiry-found"  # the keeper knows what is due
    EXPIRY_ANSWERED = "expiry-answered"  # it has been expired, the keeper has not counted it
    EVENTS_READ = "events-read"  # the keeper has events for a webhook, and has sent nothing
    EVENTS_ACCEPTED = "events-accepted"  # the webhook has said yes, nobody has noted that
    EVENTS_NOTED = "events-noted"  # how far the webhook has got is durable


class Crash:
    """The step at which to die, and how often it is still passed before."""

    def __init__(self, step: Step, left: int = 1) -> None:
        self._step = step
        self._left = left

    def due(self, step: Step) -> bool:
        """Count a step that was reached; return whether this is the one."""
        if step is self._step:
            self._left -= 1
        return step is self._step and self._left == 0


def planned(text: str | None) -> Crash | None:
    """Parse the variable; ValueError names the steps that there are."""
    if not text:
        return None
    name, _, count = text.partition(":")
    if name not in set(Step) or (count and not (count.isdecimal() and int(count) > 0)):
        steps = ", ".join(Step)
        raise ValueError(f"{VARIABLE} is STEP or STEP:N, not {text!r}; the steps are {steps}")
    return Crash(Step(name), int(count or 1))


_crash = planned(os.environ.get(VARIABLE))


def plan(text: str) -> None:
    """Plan another crash, or none: for a process that was forked from one that had no plan."""
    global _crash  # noqa: PLW0603 - there is one plan a process, read at every step.
    _crash = planned(text)


def reached(step: Step) -> None:
    """Die here if that is what was asked for."""
    if _crash is not None and _crash.due(step):
        os.write(2, f"{VARIABLE}={step}: killed\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def reached_soon(step: Step) -> None:
    """Die in the next turn of the loop: when what this turn writes has left the process."""
    if _crash is not None:
        asyncio.get_running_loop().call_soon(reached, step)
