"""Tells the chain to webhooks: in order, signed, and again until each page is accepted.

Each webhook has a task, a connection and a backoff of its own, so one that is away delays nobody.
How far it has got is noted after its yes and never before: whatever dies when, a page may be told
twice, and none is left out.
"""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec

from shieldx.keeper.signing import SecretError, read_secrets, signatures
from shieldx.ledger.events import Event
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.steps import Step, reached

logger = logging.getLogger(__name__)

PAGE: Final = 100
LOOK_SECONDS: Final = 0.5
TIMEOUT_SECONDS: Final = 10
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 300.0
HEADERS: Final = {
    "Content-Type": "application/cloudevents-batch+json",
    "User-Agent": "shieldx-keeper",
}

encode: Final = msgspec.json.Encoder(order="deterministic").encode


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where events go, and the file with the secret that signs them."""

    url: str
    secret_file: str

    @property
    def name(self) -> str:
        """What may be logged of the URL: a path's query can hold a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Chain(Protocol):
    """What is told."""

    async def events(self, after: int, limit: int) -> Sequence[Event]: ...
    async def position(self) -> int: ...


class Notes(Protocol):
    """How far each webhook has got."""

    async def accepted(self, url: str) -> int: ...
    async def note(self, url: str, position: int) -> None: ...


class RefusedError(Exception):
    """The webhook did not accept a page; the message says how, without its URL or secret."""


class Delivery:
    """Tells one webhook everything, for ever."""

    def __init__(self, webhook: Webhook, source: str, chain: Chain, notes: Notes) -> None:
        self.name = webhook.name
        self.delivered = 0
        self.failed = 0
        self.behind = 0
        self._webhook = webhook
        self._source = source
        self._chain = chain
        self._notes = notes
        self._accepted: int | None = None
        self._failures = 0

    async def run(self) -> None:
        """Deliver until cancelled; whatever fails is tried again, later and later."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers=HEADERS) as session:
            while True:
                try:
                    more = await self.once(session)
                except (RefusedError, SecretError) as refused:
                    await self._wait_after(str(refused))
                except ShardUnavailableError as away:
                    await self._wait_after(f"the database does not answer: {away}")
                except Exception as problem:
                    logger.exception("Delivering to %s failed", self.name)
                    await self._wait_after(type(problem).__name__)
                else:
                    if self._failures:
                        logger.info("Webhook %s accepts events again", self.name)
                    self._failures = 0
                    await asyncio.sleep(0 if more else LOOK_SECONDS)

    async def once(self, session: aiohttp.ClientSession) -> bool:
        """Deliver one page; return whether there may be another at once."""
        if self._accepted is None:
            self._accepted = await self._notes.accepted(self._webhook.url)
        found = await self._chain.events(self._accepted, PAGE)
        reached(Step.EVENTS_READ)
        if found:
            told = [event for event in found if event.happened]
            if told:
                await self._send(session, told)
                reached(Step.EVENTS_ACCEPTED)
            await self._notes.note(self._webhook.url, found[-1].position)
            reached(Step.EVENTS_NOTED)
            self._accepted = found[-1].position
            self.delivered += len(told)
        await self._measure()
        return len(found) == PAGE

    async def _send(self, session: aiohttp.ClientSession, told: Sequence[Event]) -> None:
        body = encode([event.cloud_event(self._source, event.answer) for event in told])
        first, last = told[0], told[-1]
        identity = f"{first.shard}-{first.position}-{last.position}"
        now = int(time.time())
        text = await asyncio.to_thread(_read, self._webhook.secret_file)
        headers = {
            "webhook-id": identity,
            "webhook-timestamp": str(now),
            "webhook-signature": signatures(read_secrets(text), identity, now, body),
        }
        try:
            # What a redirect leads to was not configured, so it gets nothing.
            async with session.post(
                self._webhook.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
        except TimeoutError as late:
            raise RefusedError(f"no answer within {TIMEOUT_SECONDS} s") from late
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise RefusedError(f"it cannot be reached: {type(problem).__name__}") from problem
        if not 200 <= status < 300:  # noqa: PLR2004 - the statuses of success.
            raise RefusedError(f"it answered {status}")

    async def _wait_after(self, problem: str) -> None:
        """Wait after a failure, longer each time, and differently from everybody else."""
        if not self._failures:
            logger.warning("Webhook %s does not accept events: %s", self.name, problem)
        self.failed += 1
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        until = time.monotonic() + longest * random.uniform(0.5, 1)  # noqa: S311 - no secret.
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 10 * LOOK_SECONDS))
            try:
                await self._measure()
            except ShardUnavailableError:
                continue  # The next attempt says so.

    async def _measure(self) -> None:
        self.behind = await self._chain.position() - (self._accepted or 0)


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise SecretError(
            "its secret cannot be read: create what spec.events.webhooks[].secretRef names"
        ) from problem
