"""`shieldx ledger api-key`: makes a key for a caller, and the entry that a ledger knows it by."""

import json
import secrets
import sys
from datetime import UTC, datetime, timedelta
from typing import Final

from shieldx.resources.api_keys import (
    NAME,
    RANDOM_BYTES,
    Entry,
    EntryError,
    digest_of,
    make_key,
    parse_entry,
    write_entry,
)
from shieldx.resources.creditledger import Scope

MADE: Final = 0
MISTAKEN: Final = 2


def make(name: str, scopes: list[Scope], accounts: list[str], days: int | None) -> int:
    """Print a new key, this once, and what to put into the Secret; return the exit code."""
    if not NAME.fullmatch(name):
        return _mistaken(f"{name!r} is no name of an entry of a Secret: use a-z, 0-9, -, . and _")
    key = make_key(secrets.token_bytes(RANDOM_BYTES))
    try:
        entry = write_entry(_entry(key, scopes, accounts, days))
        parse_entry(entry.encode())
    except (EntryError, OverflowError) as error:
        return _mistaken(str(error))
    sys.stdout.write(describe(name, key, entry))
    return MADE


def describe(name: str, key: str, entry: str) -> str:
    """Say what goes to the caller, and what into the Secret."""
    patch = json.dumps({"stringData": {name: entry}})
    return (
        f"The key of {name}, shown this once; give it to nobody but its caller:\n\n"
        f"{key}\n\n"
        "Its entry, no secret, for the Secret that spec.api.auth.apiKeysSecretRef names:\n\n"
        f"{entry}\n\n"
        f"kubectl patch secret SECRET -p '{patch}'\n"
    )


def _entry(key: str, scopes: list[Scope], accounts: list[str], days: int | None) -> Entry:
    now = datetime.now(UTC).replace(microsecond=0)
    return Entry(
        hash=f"sha256:{digest_of(key.encode()).hex()}",
        scopes=sorted(set(scopes)),
        accounts=accounts or None,
        expires=None if days is None else now + timedelta(days=days),
    )


def _mistaken(message: str) -> int:
    sys.stderr.write(f"shieldx ledger api-key: {message}\n")
    return MISTAKEN
