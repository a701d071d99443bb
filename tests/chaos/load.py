"""Customers in a process of their own.

Each has one request in flight, writes its key down before it is sent and the answer after it came.
Who gets no answer, or is told to retry, mostly asks again by the same key and sometimes gives up:
those keys are left to the judge. SIGTERM ends it at once; nothing is settled then.
"""

import asyncio
import random
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.chaos.journal import OPEN_STATUSES, Pen
from tests.support.api import Client, Response

ACCOUNTS: Final = tuple(f"shop/{n}" for n in range(6))
# Nobody but holds touches these, so that nobody but the keeper ends what has expired.
IDLE: Final = tuple(f"idle/{n}" for n in range(12))
CREDITS: Final = 2000
ANSWER_SECONDS: Final = 10.0
SHORT_SECONDS: Final = 60
GIVES_UP: Final = 0.3  # of those who got no answer
REMEMBERED: Final = 50

type Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """Where the ledger is, and how hard it is asked."""

    journal: Path
    ports: tuple[int, ...]
    seed: int = 0
    clients: int = 12
    pause_seconds: float = 0.004
    hold_seconds: int = 600
    poison: float = 0.0  # the share of requests that the database will refuse
    lots: bool = False  # grants that expire within seconds, and reversals, too


@dataclass
class Customer:
    """One client with one request in flight."""

    number: int
    options: Options
    pen: Pen
    rng: random.Random
    holds: list[str] = field(default_factory=list)
    past: list[tuple[str, str, Body, Response]] = field(default_factory=list)
    transfers: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    client: Client | None = None
    port: int = 0
    count: int = 0

    @property
    def expiring(self) -> bool:
        return self.options.hold_seconds < SHORT_SECONDS

    async def spend(self) -> None:
        """Ask for one thing after the other, for ever."""
        while True:
            await self._once()
            await asyncio.sleep(self.options.pause_seconds * self.rng.uniform(0.5, 1.5))

    async def must(self, path: str, body: Body, key: str) -> None:
        """Ask until it is answered for good; it waits even while there is nobody to ask."""
        self.pen.sent(key, path, body)
        while not await self._connected() or (await self._ask(key, path, body)) is None:
            self.pen.sent(key, path, body)
            await asyncio.sleep(0.05)

    async def _once(self) -> None:
        account, other = self.rng.sample(ACCOUNTS, 2)
        amount = self.rng.randint(1, 40)
        dice = self.rng.random()
        if dice < self.options.poison:
            body = {"debit": account, "credit": other, "amount": 1, "kind": "poison"}
            if await self._connected():
                await self._ask(f"poison-{self._key()}", "/v1/transfers", body)
        elif dice < 0.12:
            await self._read(account)
        elif dice < 0.20 and self.past:
            await self._repeat()
        elif dice < 0.28:
            await self._batch(account, other)
        elif dice < 0.42 and self.holds and not self.expiring:
            verb = self.rng.choice(["commit", "commit", "void"])
            await self._settle(f"/v1/holds/{self.holds.pop()}/{verb}", {})
        else:
            await self._settle(*self._drawn(account, other, amount))

    def _drawn(self, account: str, other: str, amount: int) -> tuple[str, Body]:
        consume = (f"/v1/accounts/{quoted(account)}/consume", {"amount": amount})
        operations = [
            {"type": "consume", "account": account, "amount": amount},
            {"type": "transfer", "debit": other, "credit": account, "amount": 1},
        ]
        held = self.rng.choice(IDLE) if self.expiring else account
        seconds = self.options.hold_seconds
        choices: list[tuple[str, Body]] = [
            consume,
            consume,
            (f"/v1/accounts/{quoted(account)}/refill", {"amount": amount}),
            ("/v1/transfers", {"debit": account, "credit": other, "amount": amount}),
            ("/v1/holds", {"account": held, "amount": amount, "timeout_seconds": seconds}),
            ("/v1/batch", {"atomic": True, "operations": operations}),
        ]
        if self.options.lots:
            choices += [
                consume,
                (f"/v1/accounts/{quoted(account)}/grants", self._lot(amount)),
                (f"/v1/accounts/{quoted(other)}/grants", self._lot(amount)),
            ]
        if self.options.lots and self.transfers:
            part = {} if self.rng.random() < 0.5 else {"amount": 1}
            choices.append((f"/v1/transfers/{self.rng.choice(self.transfers)}/reverse", part))
        return self.rng.choice(choices)

    def _lot(self, amount: int) -> Body:
        ends = datetime.now(UTC) + timedelta(seconds=self.rng.uniform(0.5, 5.0))
        return {
            "amount": amount,
            "priority": self.rng.randrange(3),
            "expires_at": ends.isoformat(),
        }

    async def _settle(self, path: str, body: Body) -> None:
        """Ask under a new key, and ask again while that makes sense."""
        key, response = self._key(), None
        while response is None:
            if not await self._connected():
                continue
            response = await self._ask(key, path, body)
            if response is None:
                if self.rng.random() < GIVES_UP:
                    return
                await asyncio.sleep(self.rng.uniform(0.05, 0.3))
        if path == "/v1/holds" and response.status == 201:
            self.holds.append(response.body["id"])
        if response.status == 201 and "debit" in response.body:
            self.transfers.append(response.body["id"])
        if len(self.past) < REMEMBERED:
            self.past.append((key, path, body, response))
        else:
            self.past[self.rng.randrange(REMEMBERED)] = (key, path, body, response)

    async def _repeat(self) -> None:
        """Ask an old key again: the answer must be the old one."""
        key, path, body, before = self.rng.choice(self.past)
        if not await self._connected():
            return
        again = await self._call(key, path, body)
        if again is None or again.status in OPEN_STATUSES:
            return
        if (again.status, again.body) != (before.status, before.body):
            self.pen.problem(f"{key}: first {before.payload!r}, then {again.payload!r}")
        if again.fields.get("idempotency-replayed") != "true":
            self.pen.problem(f"{key}: answered again, and not as a replay")

    async def _batch(self, account: str, other: str) -> None:
        """Send a plain batch; what gets lost of it is settled by single calls."""
        items = self._items(account, other)
        keys = [self._key() for _ in items]
        operations = [
            operation | {"idempotency_key": key}
            for key, (_, _, operation) in zip(keys, items, strict=True)
        ]
        if not await self._connected():
            return
        for key, (path, body, _) in zip(keys, items, strict=True):
            self.pen.sent(key, path, body)
        response = await self._call(self._key(), "/v1/batch", {"operations": operations})
        if response is None:
            for key in keys:
                self.pen.lost(key)
            return
        if response.status != 200:
            self.pen.trouble(self.port, str(response.status))
            return
        for key, result in zip(keys, response.body["results"], strict=True):
            status = result.pop("status")
            body = {k: v for k, v in result.items() if k != "code"} if status < 300 else result
            self.pen.answered(key, status, body, replayed=False)
            if status in OPEN_STATUSES:
                self.pen.trouble(self.port, f"{status} {body['code']}")

    def _items(self, account: str, other: str) -> list[tuple[str, Body, Body]]:
        """Return path and body of single calls, and the same as operations of a batch."""
        debit = {"debit": account, "credit": other, "amount": 3}
        one, two = (f"/v1/accounts/{quoted(name)}" for name in (account, other))
        items: list[tuple[str, Body, Body]] = [
            (f"{one}/consume", {"amount": 1}, {"type": "consume", "account": account, "amount": 1}),
            (f"{two}/refill", {"amount": 2}, {"type": "refill", "account": other, "amount": 2}),
            ("/v1/transfers", debit, {"type": "transfer", **debit}),
        ]
        if self.options.lots:
            lot, held = self._lot(5), {"account": other, "amount": 4}
            items += [
                (f"{two}/grants", lot, {"type": "grant", "account": other, **lot}),
                ("/v1/holds", held, {"type": "hold", **held}),
            ]
        return items

    async def _read(self, account: str) -> None:
        if not await self._connected():
            return
        began = time.monotonic_ns()
        response = await self._call("", f"/v1/accounts/{quoted(account)}/balance", None)
        if response is not None and response.status == 200:
            self.pen.read(account, began, response.body)

    async def _ask(self, key: str, path: str, body: Body) -> Response | None:
        """Send a journaled request; None if it must be asked again."""
        self.pen.sent(key, path, body)
        response = await self._call(key, path, body)
        if response is None:
            self.pen.lost(key)
            return None
        replayed = response.fields.get("idempotency-replayed") == "true"
        self.pen.answered(key, response.status, response.body, replayed=replayed)
        if response.status in OPEN_STATUSES:
            self.pen.trouble(self.port, f"{response.status} {response.code}")
            return None
        return response

    async def _call(self, key: str, path: str, body: Body | None) -> Response | None:
        """Return the answer, or None if the connection breaks or nothing comes."""
        assert self.client is not None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self.client.call(
                    "GET" if body is None else "POST", path, body, key=key
                )
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as problem:
            self.pen.trouble(self.port, repr(problem))
            self.client.writer.close()
            self.client = None
            return None

    async def _connected(self) -> bool:
        """Have a connection to one of the servers; False if there is none to be had now."""
        if self.client is None:
            self.port = self.rng.choice(self.options.ports)
            client = Client(self.port)
            try:
                await client.__aenter__()
            except OSError:
                await asyncio.sleep(self.rng.uniform(0.02, 0.1))
                return False
            self.client = client
        return True

    def _key(self) -> str:
        self.count += 1
        return f"c{self.number}-{self.count}"


def quoted(account: str) -> str:
    return account.replace("/", "%2F")


async def load(options: Options) -> None:
    """Open the accounts, then spend until stopped."""
    pen = Pen(options.journal)
    customers = [
        Customer(number, options, pen, random.Random(f"{options.seed}-{number}"))
        for number in range(options.clients)
    ]
    for account in (*ACCOUNTS, *(IDLE if customers[0].expiring else ())):
        await customers[0].must("/v1/accounts", {"id": account}, f"open-{account}")
        path = f"/v1/accounts/{quoted(account)}/refill"
        await customers[0].must(path, {"amount": CREDITS}, f"fill-{account}")
    spending = [asyncio.create_task(customer.spend()) for customer in customers]
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    ending = asyncio.create_task(stopped.wait())
    await asyncio.wait([ending, *spending], return_when=asyncio.FIRST_COMPLETED)
    for task in spending:
        if task.done():
            task.result()
