"""A run whose Prometheus is stopped: nothing is decided blind, and afterwards it goes on."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp

from controllers.shadowexperiment.evidence import Evidence
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.verdicts import Judgment
from shieldx.judgement.engine import Engine
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.signals.prometheus import PrometheusSource
from shieldx.signals.prometheus_server import Prometheus
from tests.support.experiments import SPEC
from tests.support.exposed import Exposed
from tests.support.prometheus import SCRAPE_SECONDS, PrometheusServer

BUCKET = 3


class Run:
    """A run in which every second request of the challenger fails, bucket by bucket."""

    def __init__(self, source: PrometheusSource, champion: Exposed, challenger: Exposed) -> None:
        decision = {**SPEC["decision"], "bucket": f"{BUCKET}s"}
        self.spec = ShadowExperimentSpec.parse({**SPEC, "decision": decision})
        self.evidence = Evidence(self.spec, source)
        self.champion, self.challenger = champion, challenger
        self.at = time.time() // BUCKET * BUCKET
        self.started = datetime.fromtimestamp(self.at, UTC)
        rates = {"errors": 0.01}
        self.progress = Progress(
            phase=Phase.STEPPING,
            engine=Engine.begin(self.spec, 0, rates, {}).dump(),
            base_rates=tuple(rates.items()),
            evidence_from=datetime.fromtimestamp(self.at - 600, UTC),
        )

    async def until(self, holds: Callable[[Judgment], bool]) -> Judgment:
        """Go on, bucket by bucket, until what was judged is so."""
        while True:
            (judgment,) = await self.buckets(1)
            if holds(judgment):
                return judgment

    async def buckets(self, number: int) -> list[Judgment]:
        judged = []
        for _ in range(number):
            self.at += BUCKET
            await asyncio.sleep(self.at + 0.4 - time.time())
            now = datetime.fromtimestamp(self.at + 0.4, UTC)
            await self.evidence.scrape(Phase.STEPPING, now)
            self.evidence.take(Phase.STEPPING, [self.champion.pod], [self.challenger.pod])
            judgment = self.evidence.judge(self.spec, self.progress, now, started=self.started)
            self.progress = replace(self.progress, engine=judgment.engine)
            judged.append(judgment)
            self.champion.counts.update({"200": 990, "500": 10})
            self.challenger.counts.update({"200": 50, "500": 50})
        return judged


async def test_an_outage_of_prometheus_holds_the_run_and_proves_nothing(
    prometheus: PrometheusServer,
) -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        pods = [await stack.enter_async_context(Exposed(name)) for name in ("old", "new")]
        prometheus.scrape({"shop": {it.name: it.address for it in pods}})
        await asyncio.to_thread(prometheus.start)
        source = PrometheusSource(
            Prometheus(session, prometheus.url),
            match_labels={},
            pod_label="pod",
            scrape_interval_seconds=SCRAPE_SECONDS,
        )
        run = Run(source, *pods)
        for it in pods:
            it.counts.update({"200": 1, "500": 1})
        seeing = await run.until(lambda it: it.report is not None and it.report.log_e_rollback > 0)
        prometheus.kill()
        blind = await run.buckets(4)
        await asyncio.to_thread(prometheus.start)
        run.at = time.time() // BUCKET * BUCKET
        await run.until(lambda it: it.harmful)

    assert not seeing.harmful
    for judgment in blind[1:]:  # The first round may have been before the end.
        assert judgment.state == "ProviderError"
        assert judgment.report is not None
        errors, before = (it.report.metrics["errors"] for it in (judgment, blind[0]) if it.report)
        assert errors == before
        assert not judgment.harmful
        assert not judgment.proven
        assert judgment.fresh_end == blind[0].fresh_end
