"""What the programs that serve HTTP have in common: how they begin to listen, and how they end."""

import asyncio
import signal
import sys

from shieldx.sidecar.server import Server


class StartError(Exception):
    """The program cannot start; the message says why and what to do."""


def stop_signals() -> asyncio.Event:
    """Return what is set when somebody asks the program to end."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


async def listen(server: Server, host: str, port: int) -> int:
    """Accept connections, or say why that cannot be; return the port."""
    try:
        return await server.listen(host, port)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def tell(message: str) -> None:
    """Say a line to whoever started the program."""
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()
