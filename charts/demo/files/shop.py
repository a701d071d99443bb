# ruff: noqa: INP001 - a program in a ConfigMap, not a package.
"""A shop that sells for credits: each order consumes one from its customer's account in a ledger.

What it is told: VERSION and ERROR_RATE (the share of orders that this version fails on purpose,
before any credit moves), LEDGER_URL, and a file with its token. What it shows: `POST /order`,
`/ready`, and `http_requests_total` on `/metrics`.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

VERSION = os.environ["VERSION"]
ERROR_RATE = float(os.environ["ERROR_RATE"])
LEDGER_URL = os.environ["LEDGER_URL"]
TOKEN_FILE = Path(os.environ["TOKEN_FILE"])
PORT = int(os.environ.get("PORT", "8080"))
PRICE = 1
PATIENCE_SECONDS = 10.0  # shorter than the customer's
ATTEMPT_SECONDS = 4.0
PAUSE_SECONDS = 0.1
AGAIN = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}

REQUESTS = Counter("http_requests_total", "Orders answered, by status code.", ["code"])
for known in ("200", "402", "500", "503"):
    REQUESTS.labels(code=known)  # a counter that appears late would hide its first failures

LEDGER: web.AppKey[aiohttp.ClientSession] = web.AppKey("ledger", aiohttp.ClientSession)


async def order(request: web.Request) -> web.Response:
    """Sell one thing. Every answer names the version that gave it."""
    wanted = json.loads(await request.read())
    if random.random() < ERROR_RATE:  # noqa: S311 - dice, not a secret.
        return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "decided_to_fail")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            status, code = await pay(request.app[LEDGER], wanted["customer"], wanted["order"])
    except TimeoutError:
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, "ledger_unavailable")
    return answer(status, code)


def token() -> str:
    """Read the token anew each time: it is replaced while we run."""
    return TOKEN_FILE.read_text().strip()


async def pay(ledger: aiohttp.ClientSession, customer: str, order_id: str) -> tuple[int, str]:
    """Consume the price. The order's id is the idempotency key, so that asking again is safe."""
    url = f"{LEDGER_URL}/v1/accounts/{quote(f'shop/{customer}', safe='')}/consume"
    while True:
        headers = {"Authorization": f"Bearer {token()}", "Idempotency-Key": order_id}
        try:
            async with ledger.post(url, json={"amount": PRICE}, headers=headers) as reply:
                body = await reply.json(content_type=None)
                if reply.status == HTTPStatus.CREATED:
                    return HTTPStatus.OK, "paid"
                if reply.status not in AGAIN:
                    return reply.status, body["code"]
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError):
            pass  # whether it was done is settled by the next attempt
        await asyncio.sleep(PAUSE_SECONDS)


def answer(status: int, code: str) -> web.Response:
    """Count the order and answer it."""
    REQUESTS.labels(code=str(int(status))).inc()
    return web.json_response({"version": VERSION, "code": code}, status=status)


async def metrics(_: web.Request) -> web.Response:
    """Show the counters."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def ready(_: web.Request) -> web.Response:
    """Say that orders are taken."""
    return web.Response(text="ready\n")


async def open_ledger(app: web.Application) -> AsyncIterator[None]:
    """Keep connections to the ledger's API while the shop is open."""
    timeout = aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        app[LEDGER] = session
        yield


def main() -> None:
    """Serve until SIGTERM, then finish what was begun."""
    app = web.Application()
    app.add_routes(
        [web.post("/order", order), web.get("/metrics", metrics), web.get("/ready", ready)]
    )
    app.cleanup_ctx.append(open_ledger)
    web.run_app(app, port=PORT, print=None, access_log=None, shutdown_timeout=15)


if __name__ == "__main__":
    main()
