"""Look at a ledger's workloads and pods, and ask its keeper how far the chain has got."""

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import aiohttp

from controllers.creditledger.names import LEDGER_LABEL, Names
from controllers.creditledger.plan import Observed, Workload
from controllers.pods import first_trouble
from shieldx.kube import Cluster, Manifest
from shieldx.resources.creditledger import CreditLedgerSpec

logger = logging.getLogger(__name__)

KEEPER_TIMEOUT_SECONDS: Final = 3


async def observe(
    cluster: Cluster, names: Names, spec: CreditLedgerSpec, live: Manifest, token_file: Path
) -> Observed:
    """Return the ledger `live` as it is now."""
    namespace = names.namespace
    pods = await cluster.list("v1", "Pod", namespace, f"{LEDGER_LABEL}={names.ledger}")
    api, keeper, *shards = await asyncio.gather(
        cluster.get("apps/v1", "Deployment", namespace, names.api),
        cluster.get("apps/v1", "Deployment", namespace, names.keeper),
        *(
            cluster.get("apps/v1", "StatefulSet", namespace, names.shard(s.name))
            for s in spec.shards
        ),
    )
    position = await _position(names, token_file) if _ready(keeper) else None
    return Observed(
        generation=live["metadata"]["generation"],
        uid=live["metadata"]["uid"],
        conditions=live.get("status", {}).get("conditions", []),
        shards={
            shard.name: workload
            for shard, found in zip(spec.shards, shards, strict=True)
            if (workload := _workload(found))
        },
        api=_workload(api),
        keeper=_workload(keeper),
        trouble=first_trouble(pods),
        positions=_known_positions(live) if position is None else {spec.shards[0].name: position},
    )


def _known_positions(live: Manifest) -> dict[str, int]:
    """What the status says already, so that a keeper's silence does not take it back."""
    shards = live.get("status", {}).get("shards", [])
    return {shard["name"]: shard["position"] for shard in shards if "position" in shard}


def _workload(live: Manifest | None) -> Workload | None:
    if live is None:
        return None
    status = live.get("status", {})
    wanted = live["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    seen = status.get("observedGeneration", 0) >= live["metadata"]["generation"]
    return Workload(
        wanted=wanted,
        ready=status.get("readyReplicas", 0),
        current=seen and updated == wanted and status.get("replicas", 0) == wanted,
    )


def _ready(live: Manifest | None) -> bool:
    return live is not None and live.get("status", {}).get("readyReplicas", 0) > 0


async def _position(names: Names, token_file: Path) -> int | None:
    """Ask the keeper; its silence is no news about the ledger."""
    try:
        token = await asyncio.to_thread(token_file.read_text)
        async with (
            asyncio.timeout(KEEPER_TIMEOUT_SECONDS),
            aiohttp.ClientSession() as session,
            session.get(
                f"{names.keeper_url}/status", headers={"authorization": f"Bearer {token.strip()}"}
            ) as answer,
        ):
            answer.raise_for_status()
            said: dict[str, Any] = await answer.json()
            return int(said["position"])
    except (OSError, TimeoutError, aiohttp.ClientError, KeyError, ValueError) as problem:
        logger.info("The keeper of %s/%s was not heard: %r", names.namespace, names.ledger, problem)
        return None
