"""Customers who spend one credit after the other and retry by key until they are answered.

Runs in a pod of the operator's image. Prints one JSON object when all is said: how many were
answered, what went wrong on the way, and what each account holds against what it should.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

URL = os.environ["LEDGER_URL"]
SECONDS = float(os.environ["SECONDS"])
CUSTOMERS = int(os.environ.get("CUSTOMERS", "8"))
GRANTED = 1_000_000
ATTEMPT_SECONDS = float(os.environ["ATTEMPT_SECONDS"])
PATIENCE_SECONDS = 180.0
# Good for an hour, which no test lasts. Beside a relay none is needed.
TOKEN = Path("/run/secrets/shieldx/token")
AUTHORIZED = {"Authorization": f"Bearer {TOKEN.read_text().strip()}"} if TOKEN.exists() else {}


class Customer:
    """One account, and what its requests met."""

    def __init__(self, session: aiohttp.ClientSession, number: int) -> None:
        self.session = session
        self.account = f"spend/{number}"
        self.paid = self.before = 0
        self.problems: Counter[str] = Counter()
        self.slowest = 0.0

    async def call(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Post under one key until the ledger has answered for good."""
        key, began = uuid.uuid4().hex, time.monotonic()
        while True:
            try:
                async with self.session.post(
                    f"{URL}{path}",
                    json=body,
                    headers={"Idempotency-Key": key, **AUTHORIZED},
                    timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS),
                ) as answer:
                    told = await answer.json(content_type=None)
                    if answer.status < 500:
                        self.slowest = max(self.slowest, time.monotonic() - began)
                        return answer.status, told
                    again = "" if "Retry-After" in answer.headers else " without Retry-After"
                    self.problems[f"{answer.status} {told.get('code')}{again}"] += 1
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
                self.problems[type(problem).__name__] += 1
            if time.monotonic() - began > PATIENCE_SECONDS:
                sys.exit(f"no answer to {path} in {PATIENCE_SECONDS} s: {dict(self.problems)}")
            await asyncio.sleep(0.2)

    async def expect(self, path: str, body: dict[str, Any], *statuses: int) -> None:
        status, told = await self.call(path, body)
        if status not in statuses:
            sys.exit(f"{path} was answered {status}: {told}")

    async def prepare(self) -> None:
        await self.expect("/v1/accounts", {"id": self.account}, 201, 409)
        quoted = self.account.replace("/", "%2F")
        await self.expect(f"/v1/accounts/{quoted}/refill", {"amount": GRANTED}, 201)
        self.before = await self.balance()
        self.problems.clear()

    async def spend(self, until: float) -> None:
        path = f"/v1/accounts/{self.account.replace('/', '%2F')}/consume"
        while time.monotonic() < until:
            await self.expect(path, {"amount": 1}, 201)
            self.paid += 1

    async def balance(self) -> int:
        while True:
            try:
                async with self.session.get(
                    f"{URL}/v1/accounts/{self.account.replace('/', '%2F')}/balance",
                    headers=AUTHORIZED,
                    timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS),
                ) as answer:
                    if answer.status == 200:
                        return int((await answer.json())["balance"])
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(0.2)


async def main() -> None:
    connector = aiohttp.TCPConnector(limit=0, force_close=os.environ.get("KEEP_ALIVE") != "yes")
    async with aiohttp.ClientSession(connector=connector) as session:
        customers = [Customer(session, number) for number in range(CUSTOMERS)]
        await asyncio.gather(*(customer.prepare() for customer in customers))
        print("spending", flush=True)
        until = time.monotonic() + SECONDS
        await asyncio.gather(*(customer.spend(until) for customer in customers))
        wrong = {}
        for customer in customers:
            held, due = await customer.balance(), customer.before - customer.paid
            if held != due:
                wrong[customer.account] = {"holds": held, "should": due}
        problems = sum((customer.problems for customer in customers), Counter[str]())
        print(
            json.dumps(
                {
                    "paid": sum(customer.paid for customer in customers),
                    "problems": dict(problems),
                    "slowest": round(max(customer.slowest for customer in customers), 3),
                    "wrong": wrong,
                }
            ),
            flush=True,
        )


asyncio.run(main())
