"""Callers that are known by API keys, whose hashes stand in a mounted Secret.

Only hashes are ever held. They are found by their first half and compared whole in constant time,
so that how long a refusal takes says nothing about a key. An entry that cannot be read is refused
and named in the log; the others stand. The Secret may be missing, empty or changed at any time:
what is mounted is in force two seconds later, without a restart.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shieldx.resources.api_keys import (
    NAME,
    PREFIX,
    EntryError,
    digest_of,
    is_intact,
    parse_entry,
)
from shieldx.sidecar.auth import Authenticator, Caller, Then, unauthenticated
from shieldx.sidecar.exchange import Exchange

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 2.0
LARGEST_ENTRY: Final = 64 * 1024
HALF: Final = 16
BEGINNING: Final = PREFIX.encode()

type Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who shows the key of this hash, and until when (seconds since 1970)."""

    digest: bytes
    caller: Caller
    expires: float | None


class Holders:
    """The holders of keys, by the first halves of the hashes."""

    def __init__(self, holders: Iterable[Holder] = ()) -> None:
        self._holders = {holder.digest[:HALF]: holder for holder in holders}

    def __len__(self) -> int:
        return len(self._holders)

    def find(self, key: bytes, now: float) -> Caller | str:
        """Return who holds a key; or why nobody does, in words for whoever sent it."""
        if not is_intact(key.decode("latin-1")):
            return "The API key is mistyped or cut off: its last characters do not fit the others."
        digest = digest_of(key)
        holder = self._holders.get(digest[:HALF])
        if holder is None or not hmac.compare_digest(holder.digest, digest):
            return "The API key is not known here: it was never added, or has been removed."
        if holder.expires is not None and holder.expires <= now:
            return "The API key has expired: ask for a new one."
        return holder.caller


class KeyHolders:
    """Lets in the holders of API keys, and leaves everybody else to `others`."""

    def __init__(self, others: Authenticator, *, wall: Callable[[], float] = time.time) -> None:
        self.holders = Holders()
        self._others = others
        self._wall = wall

    def identify(self, exchange: Exchange, then: Then) -> None:
        """Go on with the caller whose key was sent, or refuse the key."""
        key = exchange.shown().token
        if key is None or not key.startswith(BEGINNING):
            self._others.identify(exchange, then)
            return
        found = self.holders.find(key, self._wall())
        if isinstance(found, str):
            unauthenticated(exchange, found)
        else:
            then(exchange, found)

    async def follow(self, directory: Path, *, every_seconds: float = POLL_SECONDS) -> None:
        """Keep up with the mounted Secret, for ever."""
        seen: Files | None = None
        while True:
            try:
                files = await asyncio.to_thread(read, directory)
            except OSError as error:
                logger.warning("The API keys cannot be read, the last ones stay: %s", error)
            else:
                if files != seen:
                    seen, self.holders = files, parse(files)
            await asyncio.sleep(every_seconds)


def read(directory: Path) -> Files:
    """Read what a Secret volume holds; nothing where there is none."""
    if not directory.is_dir():
        return {}
    files = [path for path in sorted(directory.iterdir()) if not path.name.startswith("..")]
    return {path.name: _content(path) for path in files if path.is_file()}


def parse(files: Mapping[str, bytes]) -> Holders:
    """Read the entries that can be read, and name the others in the log."""
    holders: dict[str, Holder] = {}
    for name, text in files.items():
        try:
            holders[name] = _holder(name, text)
        except EntryError as error:
            logger.error("API key %s is refused, the others stand: %s", name, error)  # noqa: TRY400 — the message says all
    for name in _doubles(holders):
        logger.error("API key %s is refused: another entry has the same hash", name)
        del holders[name]
    logger.info("%d API keys are accepted, %d refused", len(holders), len(files) - len(holders))
    return Holders(holders.values())


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_ENTRY)


def _holder(name: str, text: bytes) -> Holder:
    if not NAME.fullmatch(name):
        raise EntryError("this is no name of an entry of a Secret")
    entry = parse_entry(text)
    caller = Caller(
        identity=f"apikey:{name}",
        scopes=frozenset(entry.scopes),
        prefixes=None if entry.accounts is None else tuple(entry.accounts),
    )
    expires = None if entry.expires is None else entry.expires.timestamp()
    return Holder(entry.digest, caller, expires)


def _doubles(holders: Mapping[str, Holder]) -> list[str]:
    """Name the entries that share a key: nobody can say which of them its holder is."""
    by_half: dict[bytes, list[str]] = {}
    for name, holder in holders.items():
        by_half.setdefault(holder.digest[:HALF], []).append(name)
    return [name for names in by_half.values() if len(names) > 1 for name in names]
