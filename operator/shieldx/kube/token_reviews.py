"""What the cluster that this process runs in says of tokens; connected when it is first asked.

A process that serves requests must start, and answer its probes, while the API server is away;
so nothing is opened before the first token comes, and a failure is only that token's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
from kubernetes.aio.config import ConfigException

from shieldx.kube.cluster import Cluster, Identity, KubeError
from shieldx.kube.tokens import ReviewUnavailableError

# Every service account may read both (role system:service-account-issuer-discovery). The keys are
# read where the API server itself serves them, whatever address the discovery gives to others.
DISCOVERY: Final = "/.well-known/openid-configuration"
JWKS: Final = "/openid/v1/jwks"


class ClusterReviewer:
    """Asks the API server, over one connection that is opened on first use."""

    def __init__(self, connect: Callable[[], Awaitable[Cluster]] = Cluster.open) -> None:
        self._connect = connect
        self._cluster: Cluster | None = None
        self._opening = asyncio.Lock()

    async def review_token(self, token: str, audience: str) -> Identity | None:
        """Return whose token it is; None if it is not valid; ReviewUnavailableError on silence."""
        return await self._ask(lambda cluster: cluster.review_token(token, audience))

    async def signing_keys(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the issuer's discovery document and keys; ReviewUnavailableError on silence."""
        discovery = await self._ask(lambda cluster: cluster.read(DISCOVERY))
        return discovery, await self._ask(lambda cluster: cluster.read(JWKS))

    async def close(self) -> None:
        if self._cluster is not None:
            await self._cluster.close()

    async def _ask[T](self, question: Callable[[Cluster], Awaitable[T]]) -> T:
        try:
            return await question(await self._open())
        except (KubeError, ConfigException) as error:
            raise ReviewUnavailableError(str(error)) from error
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            raise ReviewUnavailableError("the API server cannot be reached") from error

    async def _open(self) -> Cluster:
        async with self._opening:
            if self._cluster is None:
                self._cluster = await self._connect()
            return self._cluster
