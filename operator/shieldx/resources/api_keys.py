"""API keys of a ledger, and the entries of the Secret that knows them by their hashes.

    sx_3JrN…x81kQ2  =  sx_ + 43 characters of 256 random bits + 6 check characters

The check characters tell a key that was mistyped or cut off from one that is not known. A key is
random and long, so its plain SHA-256 is safe to store: there is no list of likely keys to try.

An entry of the Secret has the caller's name as its key and says in JSON

    {"hash": "sha256:…", "scopes": ["read", "write"], "accounts": ["shop/"],
     "expires": "2027-01-01T00:00:00Z"}

Without `accounts` the caller may see all accounts, without `expires` its key has no end.
"""

import hashlib
import re
import zlib
from datetime import datetime
from typing import Annotated, Final

import msgspec

from shieldx.resources.creditledger import Scope

PREFIX: Final = "sx_"
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_BYTES: Final = 32
BODY_LENGTH: Final = 43
CHECK_LENGTH: Final = 6
SHAPE: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{BODY_LENGTH + CHECK_LENGTH}}}")
NAME: Final = re.compile(r"(?!\.\.)[-._a-zA-Z0-9]{1,253}")

Prefix = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}(?![\s\S])")]


class EntryError(Exception):
    """An entry of the Secret does not say what it must; the message quotes no hash or key."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the holder of a key may do, and until when."""

    hash: Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}(?![\s\S])")]
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1)]
    accounts: list[Prefix] | None = None
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the key."""
        return bytes.fromhex(self.hash.removeprefix("sha256:"))


def make_key(randomness: bytes) -> str:
    """Write 32 random bytes as a key."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"a key is made of {RANDOM_BYTES} random bytes")
    body = PREFIX + _written(int.from_bytes(randomness), BODY_LENGTH)
    return body + _check(body)


def is_intact(key: str) -> bool:
    """Whether the text is a key as one was made: of its shape, with the right check characters."""
    body, check = key[:-CHECK_LENGTH], key[-CHECK_LENGTH:]
    return SHAPE.fullmatch(key) is not None and check == _check(body)


def digest_of(key: bytes) -> bytes:
    """Return the SHA-256 by which a key is known."""
    return hashlib.sha256(key).digest()


def parse_entry(text: bytes) -> Entry:
    """Read an entry of the Secret; EntryError if it does not say what it must."""
    try:
        return msgspec.json.decode(text, type=Entry)
    except (msgspec.DecodeError, RecursionError) as error:
        raise EntryError(str(error)) from error


def write_entry(entry: Entry) -> str:
    """Write an entry of the Secret."""
    return msgspec.json.encode(entry).decode()


def _check(body: str) -> str:
    return _written(zlib.crc32(body.encode()), CHECK_LENGTH)


def _written(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
