# ruff: noqa: INP001 - a program in a ConfigMap, not a package.
"""Customers: orders at a steady rate, whether or not the last ones were answered (an open loop).

Each order comes on a connection of its own, so that it may meet any pod of the shop. Every answer,
and every order without one, is counted by (status, version, reason): `GET /counts`. `POST /stop`
ends the buying, waits for what is open, and answers the final counts; after SECONDS it ends anyway.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from collections import Counter

import aiohttp
from aiohttp import web

SHOP_URL = os.environ["SHOP_URL"]
RATE = float(os.environ["RATE"])
SECONDS = float(os.environ["SECONDS"])
CUSTOMERS = int(os.environ["CUSTOMERS"])
PORT = int(os.environ.get("PORT", "8080"))
PATIENCE_SECONDS = 15.0


class Load:
    """Orders sent and what became of them."""

    def __init__(self) -> None:
        self.sent = 0
        self.outcomes: Counter[tuple[int, str, str]] = Counter()
        self.stopping = asyncio.Event()
        self.stopped = asyncio.Event()

    def counts(self) -> dict:
        return {
            "sent": self.sent,
            "stopped": self.stopped.is_set(),
            "outcomes": [
                {"status": status, "version": version, "reason": reason, "count": count}
                for (status, version, reason), count in sorted(self.outcomes.items())
            ],
        }

    async def run(self) -> None:
        """Send the orders, each at its own time."""
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as shop,
            asyncio.TaskGroup() as orders,
        ):
            begun = time.monotonic()
            for number in itertools.count():
                due = begun + number / RATE
                if due > begun + SECONDS:
                    break
                try:
                    async with asyncio.timeout_at(due):
                        await self.stopping.wait()
                    break
                except TimeoutError:
                    self.sent += 1
                    orders.create_task(self.order(shop, number))
        self.stopped.set()
        json.dump(self.counts(), sys.stdout)
        sys.stdout.flush()

    async def order(self, shop: aiohttp.ClientSession, number: int) -> None:
        """Order once and count what came of it; a customer does not ask twice."""
        wanted = {"customer": f"customer-{number % CUSTOMERS}", "order": f"order-{number}"}
        try:
            async with shop.post(f"{SHOP_URL}/order", json=wanted) as reply:
                body = await reply.json(content_type=None)
                outcome = (reply.status, str(body["version"]), str(body["code"]))
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
            outcome = (0, "", type(error).__name__)
        self.outcomes[outcome] += 1


async def main() -> None:
    """Buy, and tell; go on telling when the buying is over."""
    load = Load()

    async def counts(_: web.Request) -> web.Response:
        return web.json_response(load.counts())

    async def stop(_: web.Request) -> web.Response:
        load.stopping.set()
        await load.stopped.wait()
        return web.json_response(load.counts())

    app = web.Application()
    app.add_routes([web.get("/counts", counts), web.post("/stop", stop)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=PORT).start()
    await load.run()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
