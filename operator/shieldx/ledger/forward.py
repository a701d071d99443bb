"""The way to the shard's writer: the internal port of another process of the same ledger."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp

from shieldx.ledger.jobs import Job, MangledError, decode_answers, encode_jobs
from shieldx.ledger.records import Answer
from shieldx.ledger.relay import NotSentError, UnknownOutcomeError

logger = logging.getLogger(__name__)

JOBS_PATH: Final = "/internal/jobs"
WRITER_PATH: Final = "/internal/writer"
# A token for this audience opens the internal port and nothing else.
AUDIENCE: Final = "shieldx-internal"
CONNECT_SECONDS: Final = 0.4
CONNECTIONS: Final = 8
TOKEN_SECONDS: Final = 10.0
OK: Final = 200
REFUSED_WHOLE: Final = frozenset({400, 401, 403, 404, 405, 408, 411, 413, 431, 503})


class Forward:
    """Sends jobs to the writer, as the service account whose token the file holds."""

    def __init__(self, token_file: Path) -> None:
        self._token_file = token_file
        self._authorization = ""
        self._read_at: float | None = None
        self._session: aiohttp.ClientSession | None = None

    async def send(self, address: str, jobs: Sequence[Job]) -> list[list[Answer]]:
        """Return the answers of each job; NotSentError, UnknownOutcomeError."""
        payload = encode_jobs(jobs)
        try:
            async with self._connected().post(
                f"http://{address}{JOBS_PATH}", data=payload, headers=self._headers()
            ) as response:
                if response.status in REFUSED_WHOLE:
                    raise NotSentError(f"{address} refuses with {response.status}")
                if response.status != OK:
                    raise UnknownOutcomeError(f"{address} answers {response.status}")
                return decode_answers(await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as problem:
            raise NotSentError(f"{address} cannot be reached") from problem
        except (aiohttp.ClientError, OSError, TimeoutError, MangledError) as problem:
            raise UnknownOutcomeError(f"{address}: {problem!r}") from problem

    async def hears(self, address: str) -> bool:
        """Whether the process there answers that it is the writer."""
        try:
            async with self._connected().get(
                f"http://{address}{WRITER_PATH}", headers=self._headers()
            ) as response:
                return response.status == OK
        except (aiohttp.ClientError, OSError, TimeoutError, NotSentError):
            return False

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            )
        return self._session

    def _headers(self) -> dict[str, str]:
        """Read the token again now and then: the kubelet renews it."""
        now = time.monotonic()
        if self._read_at is None or now - self._read_at >= TOKEN_SECONDS:
            try:
                token = self._token_file.read_text(encoding="ascii").strip()
            except (OSError, ValueError) as problem:
                raise NotSentError(f"no token of our own: {problem}") from problem
            self._authorization = f"Bearer {token}"
            self._read_at = now
        return {"Authorization": self._authorization, "Content-Type": "application/msgpack"}
