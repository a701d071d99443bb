"""A shop that fails and dawdles by chance: a share ERRORS of requests, SLOWNESS times as long.

For COLD_SECONDS after its start, and from SIGUSR1 to SIGUSR2, everything takes three times as long.
A request that says so meets an outage of something that all versions need: then two of five fail,
and all are slow.
"""

import asyncio
import os
import random
import signal
import time

VERSION = os.environ["VERSION"]
ERRORS = float(os.environ["ERRORS"])
SLOWNESS = float(os.environ["SLOWNESS"])
COLD_SECONDS = float(os.environ["COLD_SECONDS"])
MEDIAN_SECONDS, SPREAD = float(os.environ["MEDIAN_SECONDS"]), 0.5
OUTAGE_ERRORS, DAWDLING = 0.4, 3.0
BOUNDARIES = tuple(MEDIAN_SECONDS * at for at in (0.625, 1.25, 1.875, 2.5, 3.75, 6.25, 12.5, 25))
STARTED = time.monotonic()

dawdling: set[str] = set()
counts = {"200": 0, "500": 0}
within = [0] * len(BOUNDARIES)
seconds = [0.0]


async def sell(head: bytes) -> str:
    """Serve one customer, and count it."""
    outage = b"X-Outage" in head
    began = time.monotonic()
    cold = began - STARTED < COLD_SECONDS
    slowness = SLOWNESS * (DAWDLING if cold or outage or dawdling else 1.0)
    await asyncio.sleep(slowness * random.lognormvariate(0.0, SPREAD) * MEDIAN_SECONDS)
    code = "500" if random.random() < (OUTAGE_ERRORS if outage else ERRORS) else "200"
    took = time.monotonic() - began
    counts[code] += 1
    seconds[0] += took
    for at, boundary in enumerate(BOUNDARIES):
        within[at] += took <= boundary
    return code


def metrics() -> str:
    total = sum(counts.values())
    lines = ["# TYPE http_requests_total counter"]
    lines += [f'http_requests_total{{code="{code}"}} {n}' for code, n in counts.items()]
    name = "http_request_duration_seconds"
    lines.append(f"# TYPE {name} histogram")
    pairs = zip(BOUNDARIES, within, strict=True)
    lines += [f'{name}_bucket{{le="{boundary}"}} {n}' for boundary, n in pairs]
    lines += [f'{name}_bucket{{le="+Inf"}} {total}', f"{name}_sum {seconds[0]}"]
    return "\n".join([*lines, f"{name}_count {total}", ""])


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1]
        if path == b"/buy":
            code, text = await sell(head), VERSION
        else:
            code, text = "200", metrics() if path == b"/metrics" else "ready"
        writer.write(
            f"HTTP/1.1 {code} -\r\nContent-Type: text/plain; version=0.0.4\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
        )
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGUSR1, dawdling.add, "told to")
    loop.add_signal_handler(signal.SIGUSR2, dawdling.clear)
    server = await asyncio.start_server(answer, "0.0.0.0", 8080, backlog=512)
    await stopped.wait()
    server.close()
    await asyncio.sleep(1)


asyncio.run(main())
