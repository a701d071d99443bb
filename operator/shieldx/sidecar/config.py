"""The mounted configuration of one ledger's API: parsed once, strictly, and again on change.

The operator writes it; a file that does not parse at the start is fatal, one that stops to parse
later is logged and the last good one stays in force.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from shieldx.sidecar.auth import Caller, Policy
from shieldx.sidecar.buckets import Rate
from shieldx.sidecar.scopes import Scope

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 2.0
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=366 * 86400)]


class ConfigError(Exception):
    """The configuration file cannot be read or says what it must not."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class Asset(_Strict, frozen=True):
    """What is counted: amounts are integers of 10^-scale."""

    code: Name
    scale: Annotated[int, msgspec.Meta(ge=0, le=18)] = 0


class Holds(_Strict, frozen=True):
    """How long a hold lives when nobody says, and at most."""

    default_timeout_seconds: Seconds = 900
    max_timeout_seconds: Seconds = 86400


class Burst(_Strict, frozen=True):
    """So many requests a second, and so many at once."""

    requests_per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class RateLimit(_Strict, frozen=True):
    """What a caller, and an account, may ask for; no limit where nothing is said."""

    per_client: Burst | None = None
    per_account: Burst | None = None

    def client_rate(self) -> Rate | None:
        return _rate(self.per_client)

    def account_rate(self) -> Rate | None:
        return _rate(self.per_account)


class ServiceAccount(_Strict, frozen=True):
    """One caller: its scopes, and the account prefixes it is limited to (none: all accounts)."""

    namespace: Name
    name: Name
    scopes: list[Scope]
    accounts: list[Name] | None = None


class Auth(_Strict, frozen=True):
    """Everybody who may call."""

    service_accounts: list[ServiceAccount] = []


class Config(_Strict, frozen=True):
    """One ledger shard as its API serves it."""

    ledger: Name
    shard: Name = "s0"
    asset: Asset = msgspec.field(default_factory=lambda: Asset(code="CREDIT"))
    holds: Holds = Holds()
    auth: Auth = Auth()
    rate_limit: RateLimit = RateLimit()

    def policy(self) -> Policy:
        """Index the callers by namespace and name."""
        return {
            (entry.namespace, entry.name): Caller(
                identity=f"system:serviceaccount:{entry.namespace}:{entry.name}",
                scopes=frozenset(entry.scopes),
                prefixes=None if entry.accounts is None else tuple(entry.accounts),
            )
            for entry in self.auth.service_accounts
        }


def _rate(burst: Burst | None) -> Rate | None:
    return None if burst is None else Rate(float(burst.requests_per_second), burst.burst)


def parse(text: bytes) -> Config:
    """Parse the JSON configuration."""
    try:
        config = msgspec.json.decode(text, type=Config)
    except msgspec.DecodeError as error:
        raise ConfigError(str(error)) from error
    if config.holds.default_timeout_seconds > config.holds.max_timeout_seconds:
        raise ConfigError("holds: defaultTimeoutSeconds is above maxTimeoutSeconds")
    return config


def load(path: Path) -> tuple[Config, bytes]:
    """Read and parse the file, or say what is wrong with it; return its text as well."""
    try:
        text = path.read_bytes()
        return parse(text), text
    except (OSError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


async def follow(
    path: Path,
    seen: bytes,
    changed: Callable[[Config], None],
    *,
    every_seconds: float = POLL_SECONDS,
) -> None:
    """Call `changed` whenever the mounted file has a content other than `seen` that parses."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            text = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            logger.warning("The configuration cannot be read, the last one stays: %s", error)
            continue
        if text != seen:
            seen = text
            _offer(text, changed)


def _offer(text: bytes, changed: Callable[[Config], None]) -> None:
    try:
        config = parse(text)
    except ConfigError as error:
        logger.error("The new configuration is refused, the last one stays: %s", error)  # noqa: TRY400 — the message says all
        return
    changed(config)
    logger.info("The configuration was reloaded")
