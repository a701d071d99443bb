"""What to do about a ledger, and what to say of it: a pure function of what was asked and seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from controllers.creditledger.manifests import Manifest, Owner, Settings, objects
from controllers.creditledger.names import Names
from shieldx.resources.conditions import Condition, Truth, merged
from shieldx.resources.creditledger import CreditLedgerSpec, ManagedShard

SOON: Final = timedelta(seconds=5)
LATER: Final = timedelta(minutes=2)
SINGLE_INSTANCE_NOTE: Final = (
    "managed: one instance on one volume; while its node is away the ledger cannot write"
)


class Reason(StrEnum):
    """Why a condition of a ledger holds or does not."""

    READY = "Ready"
    STARTING = "Starting"
    ROLLING = "RollingUpdate"
    UP_TO_DATE = "UpToDate"
    SHARD_DOWN = "ShardDown"
    API_DOWN = "ApiDown"
    PODS_FAIL = "PodsFail"
    NAME_TAKEN = "NameTaken"
    PAUSED = "Paused"
    PROGRESSING = "Progressing"


@dataclass(frozen=True, slots=True)
class Workload:
    """How far a StatefulSet or Deployment has got."""

    wanted: int
    ready: int
    current: bool  # whether all of its pods are of the newest template


@dataclass(frozen=True, slots=True)
class Observed:
    """The ledger as it is."""

    generation: int
    uid: str
    conditions: Sequence[Mapping[str, Any]]
    shards: Mapping[str, Workload] = field(default_factory=dict)
    api: Workload | None = None
    keeper: Workload | None = None
    trouble: str | None = None  # what a pod itself says that keeps it from starting
    taken: str | None = None  # which object of a needed name is somebody else's
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Objects to apply in order, passwords to create where there is none, and the new status."""

    apply: tuple[Manifest, ...]
    passwords: tuple[ManagedShard, ...]
    status: Manifest
    check_again: timedelta


def plan(
    names: Names, spec: CreditLedgerSpec, observed: Observed, settings: Settings, now: datetime
) -> Plan:
    """Decide one pass over a ledger."""
    conditions = _paused() if spec.paused else _conditions(spec, observed)
    ready = next(c for c in conditions if c.type == "Ready").status is Truth.TRUE
    status = _status(names, spec, observed, conditions, now)
    if spec.paused:
        return Plan((), (), status, LATER)
    return Plan(
        apply=tuple(objects(Owner(names, observed.uid), spec, settings)),
        passwords=spec.shards,
        status=status,
        check_again=LATER if ready else SOON,
    )


@dataclass(frozen=True, slots=True)
class News:
    """What is worth an event."""

    warning: bool
    reason: str
    message: str


def news(before: Sequence[Mapping[str, Any]], status: Manifest) -> News | None:
    """Return what changed about the ledger's readiness between two statuses, if anything."""
    was = {c["type"]: (c["status"], c["reason"]) for c in before}.get("Ready")
    now = next(c for c in status["conditions"] if c["type"] == "Ready")
    if was == (now["status"], now["reason"]) or (was is None and now["reason"] == Reason.STARTING):
        return None
    return News(now["status"] == Truth.FALSE, now["reason"], now["message"])


def _conditions(spec: CreditLedgerSpec, observed: Observed) -> list[Condition]:
    down = [s.name for s in spec.shards if not _up(observed.shards.get(s.name))]
    api = observed.api
    current = all(
        w is not None and w.current and w.ready == w.wanted
        for w in (api, observed.keeper, *(observed.shards.get(s.name) for s in spec.shards))
    )
    shards = _claim(
        "ShardsReady",
        not down,
        Reason.SHARD_DOWN,
        f"Postgres of shard {', '.join(down)} does not accept connections",
        "every shard's Postgres accepts connections",
    )
    serving = _claim(
        "ApiAvailable",
        _up(api),
        Reason.API_DOWN,
        "no API pod is ready",
        f"{api.ready if api else 0} API pods are ready",
    )
    trouble = observed.taken or observed.trouble
    blame = Reason.NAME_TAKEN if observed.taken else Reason.PODS_FAIL
    advice = f": {trouble}" if trouble else "; the pods are starting, or see their events"
    ready = Condition(
        "Ready",
        Truth.of(not down and _up(api)),
        Reason.READY if not down and _up(api) else blame if trouble else Reason.STARTING,
        "the ledger answers"
        if not down and _up(api)
        else f"{(shards if down else serving).message}{advice}",
    )
    reconciling = Condition(
        "Reconciling",
        Truth.of(not current),
        Reason.UP_TO_DATE if current else Reason.ROLLING,
        "everything is as asked" if current else "pods are being started or replaced",
    )
    stalled = Condition(
        "Stalled",
        Truth.of(trouble is not None),
        blame if trouble else Reason.PROGRESSING,
        trouble or "nothing is in the way",
    )
    return [ready, reconciling, stalled, serving, shards]


def _paused() -> list[Condition]:
    message = "spec.paused is true: nothing is checked or repaired until it is false"
    return [
        Condition("Ready", Truth.UNKNOWN, Reason.PAUSED, message),
        Condition("Reconciling", Truth.FALSE, Reason.PAUSED, message),
        Condition("Stalled", Truth.FALSE, Reason.PAUSED, message),
    ]


def _claim(kind: str, holds: bool, reason: Reason, problem: str, fine: str) -> Condition:  # noqa: FBT001 - as in Truth.of.
    if holds:
        return Condition(kind, Truth.TRUE, Reason.READY, fine)
    return Condition(kind, Truth.FALSE, reason, problem)


def _up(workload: Workload | None) -> bool:
    return workload is not None and workload.ready > 0


def _status(
    names: Names,
    spec: CreditLedgerSpec,
    observed: Observed,
    conditions: list[Condition],
    now: datetime,
) -> Manifest:
    up = [shard.name for shard in spec.shards if _up(observed.shards.get(shard.name))]
    ready = observed.api.ready if observed.api else 0
    return {
        "observedGeneration": observed.generation,
        "conditions": merged(
            conditions, observed.conditions, generation=observed.generation, now=now
        ),
        "summary": {
            "shards": f"{len(up)}/{len(spec.shards)}",
            "api": f"{ready}/{spec.api_replicas}",
        },
        "shards": [
            {
                "name": shard.name,
                "ready": shard.name in up,
                "note": SINGLE_INSTANCE_NOTE,
                **(
                    {"position": observed.positions[shard.name]}
                    if shard.name in observed.positions
                    else {}
                ),
            }
            for shard in spec.shards
        ],
        "api": {"url": names.api_url, "readyReplicas": ready},
    }
