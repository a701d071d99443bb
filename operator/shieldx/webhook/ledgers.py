"""What the ledgers of the cluster say of injection, asked anew for every pod that names one."""

import asyncio
import logging
from typing import Final

from shieldx.kube import Cluster, KubeError
from shieldx.resources.creditledger import API_VERSION, KIND, Injection

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 2.0


class ClusterLedgers:
    """Reads CreditLedgers; an API server that gives no answer means what most ledgers mean."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def injection(self, namespace: str, ledger: str) -> Injection | None:
        """Return what the ledger says of injection; None where there is no such ledger."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                live = await self._cluster.get(API_VERSION, KIND, namespace, ledger)
        except (KubeError, TimeoutError) as silence:
            logger.warning("CreditLedger %s/%s could not be read: %r", namespace, ledger, silence)
            return Injection.ENABLED
        return None if live is None else Injection.of(live["spec"])
