"""Run a coroutine in a process of its own, and have its result or its error here."""

import asyncio
import multiprocessing
import signal
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection

import uvloop

from shieldx.ledger.postgres import ShardUnavailableError


class ElsewhereError(Exception):
    """The other process has failed; the message says how."""


async def elsewhere[*A, T](function: Callable[[*A], Coroutine[None, None, T]], *arguments: *A) -> T:
    """Await `function(…)` in another process, which ends with this call, whatever ends it.

    Arguments and result travel through a pipe: no other process sees them.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, function, arguments), daemon=True)
    process.start()
    theirs.close()
    result: T
    problem: Exception | None
    try:
        result, problem = await asyncio.to_thread(ours.recv)
    except EOFError:
        raise ElsewhereError(f"{function.__name__}: its process has died") from None
    finally:
        process.terminate()
        await asyncio.to_thread(process.join)
        ours.close()
    if problem is not None:
        raise problem
    return result


def _run(
    pipe: Connection,
    function: Callable[..., Coroutine[None, None, object]],
    arguments: list[object],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches who asked, who ends this.
    try:
        pipe.send((uvloop.run(function(*arguments)), None))
    except ShardUnavailableError as problem:
        pipe.send((None, problem))
    except Exception as problem:  # noqa: BLE001 - not every error can travel as it is.
        pipe.send((None, ElsewhereError(f"{type(problem).__name__}: {problem}")))
