"""Customers of the shop: RATE requests a second at random moments, each by a connection of its own.

Every second one line of JSON says who answered: by version, how many well and how many badly, and
how many got no answer at all. After SIGUSR1 requests say that something that all versions need is
away, until SIGUSR2.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter

RATE = float(os.environ["RATE"])
# As Kubernetes tells it: a question for its name with every request would be a load of its own.
SHOP = os.environ["SHOP_SERVICE_HOST"]
DEADLINE_SECONDS = 30.0

answers: Counter[str] = Counter()


async def buy(head: bytes) -> None:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            reader, writer = await asyncio.open_connection(SHOP, 8080)
            try:
                writer.write(head)
                told = await reader.read()
            finally:
                writer.close()
        status, version = told.split(b" ", 2)[1], told.rsplit(b"\r\n", 1)[1].decode()
        answers[f"{version} {'ok' if status == b'200' else 'bad'}"] += 1
    except (OSError, TimeoutError, IndexError) as problem:
        answers[f"lost {type(problem).__name__}"] += 1


async def report() -> None:
    while True:
        await asyncio.sleep(1 - time.time() % 1)
        print(json.dumps({"end": round(time.time()), **answers}), flush=True)
        answers.clear()


async def main() -> None:
    outage = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, outage.set)
    loop.add_signal_handler(signal.SIGUSR2, outage.clear)
    reporting = asyncio.create_task(report())
    running: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    while not reporting.done():
        due += random.expovariate(RATE)
        await asyncio.sleep(max(due - time.monotonic(), 0))
        trouble = "X-Outage: yes\r\n" if outage.is_set() else ""
        head = f"GET /buy HTTP/1.1\r\nHost: shop\r\n{trouble}\r\n".encode()
        task = asyncio.create_task(buy(head))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
