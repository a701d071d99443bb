"""What one operator process has measured of one experiment; in memory, empty after a restart.

Everything that was decided on lies in the experiment's status; this is only what is not decided
on yet: the last scrape, buckets that no status write has taken in, and the champion's past.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from controllers.shadowexperiment.phases import MEASURED, Phase
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.verdicts import Judgment, blind_since, judge
from shieldx.judgement.beginning import asked, frozen_rates
from shieldx.judgement.engine import Engine
from shieldx.resources.shadowexperiment import (
    ShadowExperimentSpec,
)
from shieldx.signals.baseline import FEWEST_REQUESTS, Baseline
from shieldx.signals.buckets import Bucket, Recorder
from shieldx.signals.readings import (
    MetricSource,
    Pod,
    PodReadings,
    Question,
    Scrape,
)
from shieldx.signals.selector import InvalidSelectorError

# In these nobody asks for the challenger's numbers, and the champion's are its past.
CHAMPION_ALONE: Final = frozenset({Phase.IDLE, Phase.PROMOTED, Phase.ROLLED_BACK, Phase.PREPARING})
PENDING_KEPT: Final = 100
# A source that lags behind is asked again after this pause.
ASK_AGAIN_SECONDS: Final = 1.0


class Evidence:
    """Scrapes both arms at the ends of buckets, and judges what has been closed."""

    def __init__(self, spec: ShadowExperimentSpec, source: MetricSource) -> None:
        self._source = source
        self._question = spec.source, spec.guardrails, spec.decision.bucket
        self.problem: str | None = None
        self._asked: list[Question] = []
        try:
            self._asked = [asked(each) for each in spec.guardrails]
        except InvalidSelectorError as malformed:
            self.problem = f"spec.metrics.guardrails[].bad: {malformed}"
        names = [each.name for each in self._asked]
        self._recorder = Recorder(names, spec.decision.bucket.total_seconds())
        self._baseline = Baseline(names)
        self._pending: list[Bucket] = []
        self._arms: tuple[Sequence[Pod], Sequence[Pod]] | None = None
        self._scraped: tuple[float, Scrape] | None = None
        self._not_before = 0.0
        # By the state that they were dumped to: the stored one, and the one about to be stored.
        self._engines: dict[str | None, Engine] = {}

    def answers(self, spec: ShadowExperimentSpec) -> bool:
        """Whether this was gathered for the question that `spec` asks."""
        return self._question == (spec.source, spec.guardrails, spec.decision.bucket)

    def next_at(self, now: datetime) -> datetime:
        """Return when to scrape next."""
        due = max(self._recorder.next_scrape_at(now.timestamp()), self._not_before)
        return datetime.fromtimestamp(due, UTC)

    async def scrape(self, phase: Phase, now: datetime) -> None:
        """Read the pods that were seen last, if a bucket ends now.

        A scrape that is late ends no bucket.
        """
        at = now.timestamp()
        self._scraped = None
        due = max(self._recorder.next_scrape_at(at), self._not_before)
        if self._arms is None or due > at:
            return
        champion, challenger = self._arms
        tried = [] if phase in CHAMPION_ALONE else challenger
        boundary = self._recorder.boundary(at)
        scrape = await self._source.scrape(self._asked, champion, tried, at=boundary)
        self._not_before = at + ASK_AGAIN_SECONDS
        if not (scrape.early and self._recorder.may_wait_until(self._not_before)):
            self._not_before, self._scraped = at, (at, scrape)

    def take(self, phase: Phase, champion: Sequence[Pod], challenger: Sequence[Pod]) -> None:
        """Take in what was scraped, with the pods as they are now, and keep what it closes."""
        self._arms = champion, challenger
        if self._scraped is None:
            return
        at, scrape = self._scraped
        current = Scrape(
            _present(scrape.champion, champion), _present(scrape.challenger, challenger)
        )
        self._recorder.add(current, at)
        for bucket in self._recorder.closed():
            if phase in MEASURED:
                self._pending = [*self._pending[1 - PENDING_KEPT :], bucket]
            elif phase in CHAMPION_ALONE:
                self._baseline.add(bucket)

    def judge(
        self, spec: ShadowExperimentSpec, progress: Progress, now: datetime, *, started: datetime
    ) -> Judgment:
        """Judge the run by its stored state and what has been closed since."""
        if self.problem is not None:
            return Judgment(message=self.problem)
        if progress.phase is Phase.PREPARING:
            self._forget_run()
            return self._beginning(spec, progress)
        if progress.phase not in MEASURED:
            self._forget_run()
            return Judgment()
        if progress.engine is None:
            # What was not known of the champion before is learnt from what counts for nobody.
            for bucket in self._pending:
                self._baseline.add(bucket)
            self._forget_run()
            beginning = self._beginning(spec, progress)
            since = blind_since(progress, beginning, operator_started=started)
            return replace(beginning, blind_since=since)
        stored = self._engines.get(progress.engine)
        judgment, engine = judge(
            spec, progress, self._pending, operator_started=started, engine=deepcopy(stored)
        )
        # Until the status is written the same buckets may be judged again, from where they began.
        self._engines = {
            k: e for k, e in ((progress.engine, stored), (judgment.engine, engine)) if e
        }
        state = self._recorder.evidence(now.timestamp())
        return replace(
            judgment,
            state=str(state.state),
            message=state.message,
            blind_since=blind_since(progress, judgment, operator_started=started),
        )

    def _forget_run(self) -> None:
        """Forget one run: the next may begin at the same state, and at half the risk."""
        self._pending.clear()
        self._engines.clear()

    def _beginning(self, spec: ShadowExperimentSpec, progress: Progress) -> Judgment:
        """Freeze the champion's rates and their scatter, before anything counts."""
        rates: dict[str, float] = {}
        for guardrail in spec.guardrails:
            known = frozen_rates(guardrail, self._baseline)
            if not known:
                return Judgment(
                    message=f"{guardrail.name} of the champion is not known yet: it takes "
                    f"{FEWEST_REQUESTS} requests to find its quantile"
                )
            rates |= known
        scatter = {name: self._baseline.dispersion(name) for name in rates}
        engine = Engine.begin(spec, progress.attempt, rates, scatter)
        return Judgment(beginning=engine.dump(), base_rates=tuple(rates.items()))


def _present(read: Mapping[str, PodReadings], pods: Sequence[Pod]) -> dict[str, PodReadings]:
    """Return what was read of pods that are still there, which says more than their silence."""
    return {pod.uid: PodReadings(pod, read[pod.uid].readings) for pod in pods if pod.uid in read}
