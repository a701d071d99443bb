"""Token reviews by the cluster that this process runs in, connected when the first is needed.

A process that serves requests must start, and answer its probes, while the API server is away;
so nothing is opened before the first token comes, and a failure is only that token's.
"""

import asyncio

import aiohttp
from kubernetes.aio.config import ConfigException

from shieldx.kube.cluster import Cluster, Identity, KubeError
from shieldx.kube.tokens import ReviewUnavailableError


class ClusterReviewer:
    """Asks the API server, over one connection that is opened on first use."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._opening = asyncio.Lock()

    async def review_token(self, token: str, audience: str) -> Identity | None:
        """Return whose token it is; None if it is not valid; ReviewUnavailableError on silence."""
        try:
            cluster = await self._open()
            return await cluster.review_token(token, audience)
        except (KubeError, ConfigException) as error:
            raise ReviewUnavailableError(str(error)) from error
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            raise ReviewUnavailableError("the API server cannot be reached") from error

    async def close(self) -> None:
        if self._cluster is not None:
            await self._cluster.close()

    async def _open(self) -> Cluster:
        async with self._opening:
            if self._cluster is None:
                self._cluster = await Cluster.open()
            return self._cluster
