"""One experiment's passes: look, judge, decide, write; and what this process has measured."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from controllers.shadowexperiment.act import act
from controllers.shadowexperiment.evidence import Evidence
from controllers.shadowexperiment.facts import Situation
from controllers.shadowexperiment.manifests import Names
from controllers.shadowexperiment.observe import observe
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.plan import plan
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.status import status
from shieldx.kube import Cluster
from shieldx.resources.shadowexperiment import API_VERSION, KIND, ShadowExperimentSpec
from shieldx.signals.readings import MetricSource

GONE: Final = timedelta(hours=1)

type Clock = Callable[[], datetime]
type Sources = Callable[[ShadowExperimentSpec], MetricSource]


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass has done, and when the next is due."""

    check_again: timedelta
    before: Progress
    after: Progress

    @property
    def moved(self) -> bool:
        """Whether this was a transition: of the phase, or of the step."""
        return (self.before.phase, self.before.step) != (self.after.phase, self.after.step)


class Trial:
    """Runs the passes of one experiment; `clock` and `sources` are the time and the network."""

    def __init__(self, cluster: Cluster, sources: Sources, clock: Clock) -> None:
        self._cluster = cluster
        self._sources = sources
        self._clock = clock
        self._started = clock()
        self._evidence: Evidence | None = None
        self._phase = Phase.INVALID  # as it was stored last

    async def measure(self) -> None:
        """Read what pods count, if a bucket ends now, of those that were seen in the last pass.

        It comes before a pass, since what Kubernetes has to say takes time; and outside of one,
        since a source may take long to say nothing.
        """
        if self._evidence is not None:
            await self._evidence.scrape(self._phase, self._clock())

    async def once(self, namespace: str, name: str) -> Pass:
        """Make one pass. ConflictError where the world has changed since it was looked at."""
        live = await self._cluster.get(API_VERSION, KIND, namespace, name)
        if live is None or "deletionTimestamp" in live["metadata"]:
            return Pass(GONE, Progress(), Progress())
        spec = ShadowExperimentSpec.parse(live["spec"])
        names = Names(namespace, name, spec.target)
        before = Progress.parse(live.get("status", {}))
        evidence, self._phase = self._evidence_for(spec), before.phase
        look = await observe(self._cluster, names, spec, live, self._clock())
        evidence.take(before.phase, look.champion, look.challenger)
        now = self._clock()
        judgment = evidence.judge(spec, before, now, started=self._started)
        seen = replace(look.observed, problem=look.observed.problem or evidence.problem)
        situation = Situation(names, spec, seen, before, judgment, now)
        todo = plan(situation)
        await act(self._cluster, names, seen, todo, status(situation, todo))
        self._phase = todo.progress.phase
        until_scrape = evidence.next_at(self._clock()) - self._clock()
        return Pass(max(min(todo.check_again, until_scrape), timedelta(0)), before, todo.progress)

    def _evidence_for(self, spec: ShadowExperimentSpec) -> Evidence:
        if self._evidence is None or not self._evidence.answers(spec):
            self._evidence = Evidence(spec, self._sources(spec))
        return self._evidence
