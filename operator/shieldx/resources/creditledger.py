"""`CreditLedger`: what the user asks for.

The API server has applied defaults and rules of the CRD before this is read, so a missing field
is a defect of the CRD, not of the user.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Self

from shieldx.resources.durations import parse_duration

API_VERSION: Final = "shieldx.io/v1alpha1"
KIND: Final = "CreditLedger"


class Scope(StrEnum):
    """What a caller of the API may do."""

    READ = "read"
    WRITE = "write"
    ISSUE = "issue"
    ADMIN = "admin"


class DeletionPolicy(StrEnum):
    """What becomes of the data when the ledger's resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Injection(StrEnum):
    """Whether pods that name the ledger get its relay."""

    ENABLED = "enabled"
    DISABLED = "disabled"

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Self:
        """Read it from a spec that the API server has accepted."""
        return cls(spec["sidecar"]["injection"])


@dataclass(frozen=True, slots=True)
class Asset:
    """What the ledger counts, in integers of 10^-scale."""

    code: str
    scale: int


@dataclass(frozen=True, slots=True)
class ManagedShard:
    """A Postgres that we run: one instance on one volume."""

    name: str
    storage: str
    storage_class: str | None
    resources: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """A service account that may call the API; `accounts` are id prefixes, None for all."""

    namespace: str
    name: str
    scopes: frozenset[Scope]
    accounts: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Rate:
    """So many operations a second, and so many at once."""

    requests_per_second: int
    burst: int


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One value of a Secret of the ledger's namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How often the API may be asked, and where its pods count together; None: no limit, alone."""

    per_client: Rate | None
    per_account: Rate | None
    redis: SecretKey | None

    @classmethod
    def parse(cls, limit: Mapping[str, Any]) -> Self:
        """Read `spec.api.rateLimit`."""
        redis = limit.get("redis", {}).get("urlSecretRef")
        return cls(
            per_client=_rate(limit) if "burst" in limit else None,
            per_account=_rate(limit["perAccount"]) if "perAccount" in limit else None,
            redis=None if redis is None else SecretKey(redis["name"], redis["key"]),
        )


def _rate(rate: Mapping[str, Any]) -> Rate:
    return Rate(rate["requestsPerSecond"], rate["burst"])


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where every event is sent, and the Secret whose key signs it."""

    url: str
    secret: SecretKey


@dataclass(frozen=True, slots=True)
class CreditLedgerSpec:
    """The whole of `spec`."""

    asset: Asset
    shards: tuple[ManagedShard, ...]
    api_replicas: int
    callers: tuple[Caller, ...]
    api_keys_secret: str | None  # its entries are callers, known by their keys
    rate_limit: RateLimit
    default_timeout: timedelta
    max_timeout: timedelta
    webhooks: tuple[Webhook, ...]
    paused: bool
    deletion_policy: DeletionPolicy

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> Self:
        """Read a spec that the API server has accepted."""
        return cls(
            asset=Asset(code=spec["asset"]["code"], scale=spec["asset"]["scale"]),
            shards=tuple(
                ManagedShard(
                    name=shard["name"],
                    storage=shard["managed"]["storage"],
                    storage_class=shard["managed"].get("storageClassName"),
                    resources=shard["managed"]["resources"],
                )
                for shard in spec["shards"]
            ),
            api_replicas=spec["api"]["replicas"],
            callers=tuple(
                Caller(
                    namespace=caller["namespace"],
                    name=caller["name"],
                    scopes=frozenset(Scope(scope) for scope in caller["scopes"]),
                    accounts=tuple(caller["accounts"]) if "accounts" in caller else None,
                )
                for caller in spec["api"]["auth"]["serviceAccounts"]
            ),
            api_keys_secret=spec["api"]["auth"].get("apiKeysSecretRef", {}).get("name"),
            rate_limit=RateLimit.parse(spec["api"].get("rateLimit", {})),
            default_timeout=parse_duration(spec["holds"]["defaultTimeout"]),
            max_timeout=parse_duration(spec["holds"]["maxTimeout"]),
            webhooks=tuple(
                Webhook(
                    url=webhook["url"],
                    secret=SecretKey(webhook["secretRef"]["name"], webhook["secretRef"]["key"]),
                )
                for webhook in spec["events"]["webhooks"]
            ),
            paused=spec["paused"],
            deletion_policy=DeletionPolicy(spec["deletionPolicy"]),
        )
