# ruff: noqa: INP001 - a program in a ConfigMap, not a package.
"""The teller: `open` gives each customer an account with credits, `consumed` says what was spent.

Everything is asked again until the ledger answers; keys and states make that safe.
"""

import asyncio
import json
import os
import sys
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import aiohttp

LEDGER_URL = os.environ["LEDGER_URL"]
TOKEN_FILE = Path(os.environ["TOKEN_FILE"])
CUSTOMERS = int(os.environ["CUSTOMERS"])
CREDITS = int(os.environ["CREDITS"])
PAUSE_SECONDS = 1.0
AGAIN = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def token() -> str:
    """Read the token anew each time: it is replaced while we run."""
    return TOKEN_FILE.read_text().strip()


async def call(
    session: aiohttp.ClientSession, method: str, path: str, body: dict | None = None, key: str = ""
) -> tuple[int, dict]:
    """Ask the ledger until it answers."""
    while True:
        headers = {"Authorization": f"Bearer {token()}"}
        if key:
            headers["Idempotency-Key"] = key
        url = f"{LEDGER_URL}{path}"
        try:
            async with session.request(method, url, json=body, headers=headers) as reply:
                if reply.status not in AGAIN:
                    return reply.status, await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(PAUSE_SECONDS)


async def open_account(session: aiohttp.ClientSession, account: str) -> None:
    """Open one account and fill it, once."""
    status, answer = await call(
        session, "POST", "/v1/accounts", {"id": account}, key=f"open:{account}"
    )
    if status != HTTPStatus.CREATED:
        sys.exit(f"{account} could not be opened: {answer}")
    path = f"/v1/accounts/{quote(account, safe='')}/refill"
    status, answer = await call(session, "POST", path, {"amount": CREDITS}, key=f"refill:{account}")
    if status != HTTPStatus.CREATED:
        sys.exit(f"{account} could not be filled: {answer}")


async def consumed(session: aiohttp.ClientSession, account: str) -> int:
    """Return what this customer has spent."""
    path = f"/v1/accounts/{quote(account, safe='')}/balance"
    status, answer = await call(session, "GET", path)
    if status != HTTPStatus.OK:
        sys.exit(f"the balance of {account} could not be read: {answer}")
    return CREDITS - answer["balance"]


async def main(verb: str) -> None:
    """Do one of the two things for every customer."""
    accounts = [f"shop/customer-{number}" for number in range(CUSTOMERS)]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        match verb:
            case "open":
                for account in accounts:
                    await open_account(session, account)
                json.dump({"accounts": len(accounts), "credits": CREDITS}, sys.stdout)
            case "consumed":
                spent = [await consumed(session, account) for account in accounts]
                json.dump({"consumed": sum(spent)}, sys.stdout)
            case _:
                sys.exit("say `open` or `consumed`")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
