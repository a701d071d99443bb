"""Pods that show counters on real ports, for a real Prometheus to scrape."""

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from shieldx.signals.readings import Pod

NATIVE: Final = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)


@dataclass(eq=False)
class Exposed:
    """One pod: what it has counted by code, and whether it shows it."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    status: int = 200
    address: str = ""
    raw: str = ""  # lines that it shows besides
    native: bytes = b""  # what it shows instead, in the protocol of native histograms
    pod: Pod = field(init=False)
    _runner: web.AppRunner | None = None

    def __post_init__(self) -> None:
        self.pod = Pod(self.name, self.name, "127.0.0.1", time.time() - 60, 0, ready=True)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._show)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def restart(self) -> None:
        """Forget everything, as a process does that begins anew; Kubernetes notices."""
        self.counts.clear()
        self.pod = replace(self.pod, started_at=time.time(), restarts=self.pod.restarts + 1)

    async def _show(self, _: web.Request) -> web.Response:
        if self.native:
            return web.Response(body=self.native, headers={"Content-Type": NATIVE})
        lines = [f'http_requests_total{{code="{code}"}} {n}' for code, n in self.counts.items()]
        text = "\n".join(["# TYPE http_requests_total counter", *lines, self.raw, ""])
        return web.Response(status=self.status, text=text)
