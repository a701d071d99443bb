"""Receipts: entries of the chain sealed with keys that the database never sees.

A receipt is `<key id>.<HMAC-SHA256 of the entry's hash, base64url>`. Whoever has one can have it
proven later that the entry is in the chain unchanged; whoever can write to the database can
rewrite the chain, but not make receipts.

A key is a file of a mounted directory: its name is the key's id, its content at least 32 random
bytes in base64. New entries are sealed with the key whose id sorts last; the others stay for
verification. So a key is rotated by adding one.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

logger = logging.getLogger(__name__)

KEY_BYTES: Final = 32
BLOCK_BYTES: Final = 64  # of SHA-256
POLL_SECONDS: Final = 5.0
RECEIPT_KEYS: Final = "receipt-keys"  # the folder of a laptop's ledger that has them
URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


class SealError(Exception):
    """Keys or a receipt cannot be used; the message never quotes a key."""


class KeyRing:
    """The keys of one ledger by id; two rings are equal if their keys are."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise SealError("there is no key: add one as a file with 32 random bytes in base64")
        self._keys = dict(keys)
        self._seals = {name: Seal(name, key) for name, key in keys.items()}
        self._current = self._seals[max(keys)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyRing) and self._keys == other._keys

    __hash__ = None  # type: ignore[assignment]  # Keys are not for looking things up by.

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, bytes]]]:
        """Travel to another process of the same program as keys: what is set up stays here."""
        return type(self), (self._keys,)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the keys of a mounted directory."""
        try:
            files = sorted(f for f in folder.iterdir() if KEY_ID.fullmatch(f.name) and f.is_file())
            return cls({file.name: _key(file) for file in files})
        except OSError as error:
            raise SealError(f"{folder}: cannot be read as a directory of keys") from error

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Read the keys of a directory, after making it and a first key where there is none."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        first = folder / "k1"
        if not any(KEY_ID.fullmatch(file.name) for file in folder.iterdir()):
            first.touch(mode=0o600)
            first.write_text(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
        return cls.read(folder)

    @property
    def seal(self) -> "Seal":
        """What returns the receipt of the entry with a given hash, by the newest key."""
        return self._current

    def genuine(self, receipt: str, digest: bytes) -> bool:
        """Say whether this is the receipt of the entry with this hash."""
        name = receipt.partition(".")[0]
        seal = self._seals.get(name)
        if seal is None:
            raise SealError(f"the key {name!r} of its receipt is not among the given ones")
        return hmac.compare_digest(receipt, seal(digest))


async def follow_keys(
    folder: Path,
    seen: KeyRing,
    changed: Callable[[KeyRing], None],
    *,
    every_seconds: float = POLL_SECONDS,
) -> None:
    """Call `changed` whenever the keys of a mounted directory have become others."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            ring = await asyncio.to_thread(KeyRing.read, folder)
        except SealError as error:
            logger.warning("The receipt keys cannot be read, the last ones stay: %s", error)
            continue
        if ring != seen:
            seen = ring
            changed(ring)
            logger.info("The receipt keys were reloaded")


class Seal:
    """HMAC-SHA256 (RFC 2104) under one key, whose two blocks are hashed once and for all.

    `hmac` sets its key up anew for every message, which takes most of its time when messages are
    as short as a hash.
    """

    __slots__ = ("_inner", "_name", "_outer")

    def __init__(self, name: str, key: bytes) -> None:
        self._name = f"{name}."
        block = (hashlib.sha256(key).digest() if len(key) > BLOCK_BYTES else key).ljust(
            BLOCK_BYTES, b"\0"
        )
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def __call__(self, digest: bytes) -> str:
        """Return the receipt of the entry with this hash: base64url without its end marks."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(digest)
        outer.update(inner.digest())
        # What `base64.urlsafe_b64encode` does, without its two calls.
        code = binascii.b2a_base64(outer.digest(), newline=False).translate(URL_SAFE, b"=")
        return self._name + code.decode()


def _key(file: Path) -> bytes:
    try:
        key = base64.b64decode(file.read_text(encoding="ascii").strip(), validate=True)
    except (UnicodeDecodeError, binascii.Error) as error:
        raise SealError(f"{file}: does not hold a key in base64") from error
    if len(key) < KEY_BYTES:
        raise SealError(f"{file}: a key has at least {KEY_BYTES} bytes")
    return key
