"""Leader election by one Lease: whoever renews it may act, and stops when it cannot.

kopf's peering is not leader election (clocks of different machines, no fencing), so the operator
takes a Lease before kopf starts and ends when it is lost. All durations are measured with the
local monotonic clock from the moment a renewal was *sent*, so a holder gives up before a
follower, who counts from the moment it *saw* the record, may take over. The method is
client-go's.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from shieldx.kube import Cluster, ConflictError, KubeError, Manifest

logger = logging.getLogger(__name__)

LEASE: Final = ("coordination.k8s.io/v1", "Lease")
DURATION_SECONDS: Final = 15
RENEW_SECONDS: Final = 2.0
GIVE_UP_SECONDS: Final = 10.0


@dataclass(slots=True)
class Lease:
    """One Lease object in one namespace, contended for by processes with distinct identities."""

    cluster: Cluster
    namespace: str
    name: str
    identity: str = field(default_factory=lambda: f"shieldx-{uuid.uuid4().hex[:12]}")
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    monotonic: Callable[[], float] = field(default_factory=lambda: asyncio.get_running_loop().time)
    _seen: tuple[str, float] = ("", 0.0)

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        while not await self._try():  # noqa: ASYNC110 - the Lease changes elsewhere: poll it.
            await asyncio.sleep(RENEW_SECONDS)
        logger.info("Took the lease %s/%s as %s", self.namespace, self.name, self.identity)

    async def keep(self) -> None:
        """Renew until that fails for too long; then set `lost` and return."""
        renewed = self.monotonic()
        while self.monotonic() - renewed < GIVE_UP_SECONDS:
            await asyncio.sleep(RENEW_SECONDS)
            sent = self.monotonic()
            try:
                async with asyncio.timeout(GIVE_UP_SECONDS / 2):
                    if not await self._try():
                        break
                renewed = sent
            except (KubeError, TimeoutError) as problem:
                logger.warning("Could not renew the lease: %s", problem)
        logger.error("Lost the lease %s/%s", self.namespace, self.name)
        self.lost.set()

    async def release(self) -> None:
        """Give the Lease back, so that a successor need not wait for it to run out."""
        live = await self.cluster.get(*LEASE, self.namespace, self.name)
        if live and live["spec"].get("holderIdentity") == self.identity:
            await self._write(live, {"holderIdentity": "", "leaseDurationSeconds": 1})

    async def _try(self) -> bool:
        live = await self.cluster.get(*LEASE, self.namespace, self.name)
        if live is None:
            return await self.cluster.create(self._manifest())
        holder = live["spec"].get("holderIdentity", "")
        if holder not in {"", self.identity} and not self._expired(live):
            return False
        return await self._write(live, {"holderIdentity": self.identity})

    def _expired(self, live: Manifest) -> bool:
        """Judge by our own clock how long this very record has been standing still."""
        version, now = live["metadata"]["resourceVersion"], self.monotonic()
        if version != self._seen[0]:
            self._seen = (version, now)
        duration: int = live["spec"].get("leaseDurationSeconds", DURATION_SECONDS)
        return now - self._seen[1] > duration

    async def _write(self, live: Manifest, spec: dict[str, Any]) -> bool:
        try:
            written = await self.cluster.patch(
                *LEASE,
                self.namespace,
                self.name,
                {"spec": {"leaseDurationSeconds": DURATION_SECONDS, "renewTime": _now(), **spec}},
                resource_version=live["metadata"]["resourceVersion"],
            )
        except ConflictError:
            return False
        return written is not None

    def _manifest(self) -> Manifest:
        return {
            "apiVersion": LEASE[0],
            "kind": LEASE[1],
            "metadata": {"namespace": self.namespace, "name": self.name},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "renewTime": _now(),
            },
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
