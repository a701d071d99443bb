"""What the evidence amounts to: closed buckets folded into the decision engine; pure.

The engine's state lies in the experiment's status, together with the rates that were frozen when
the challenger first had traffic. Buckets that it has seen change nothing, so the same buckets
give the same verdict however often the operator was restarted in between.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from controllers.shadowexperiment.manifests import Manifest
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.reach import Reach
from controllers.shadowexperiment.shown import Flow, Risks, Shown, shown
from shieldx.judgement.engine import Engine, answerable, question
from shieldx.judgement.trajectory import Point
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.signals.buckets import Bucket
from shieldx.signals.states import EvidenceState
from shieldx.stats import MetricReport, Report, Verdict

# As many as the status may hold.
MOST_UNRECORDED: Final = 200


@dataclass(frozen=True, slots=True)
class Judgment:
    """What is known of the challenger after the newest buckets; empty where nothing is."""

    state: str = str(EvidenceState.INSUFFICIENT)
    message: str = "no bucket has been closed yet"
    report: Report | None = None
    engine: str | None = None
    fresh_end: datetime | None = None  # end of the newest bucket that counted and sufficed
    blind_since: datetime | None = None  # since when no bucket has sufficed, as far as was watched
    metrics: tuple[Shown, ...] = ()  # the evidence as people read it, after a new bucket
    reach: Reach | None = None  # whether requests come, after a new bucket
    points: tuple[Point, ...] = ()  # the new buckets, as the run's record will tell of them
    beginning: str | None = None  # the engine's state before the first bucket
    base_rates: tuple[tuple[str, float], ...] = ()

    @property
    def harmful(self) -> bool:
        return self.report is not None and self.report.verdict is Verdict.ROLLBACK

    @property
    def proven(self) -> bool:
        return self.report is not None and self.report.verdict is Verdict.PROMOTE

    @property
    def guardrails(self) -> Mapping[str, MetricReport]:
        """The evidence on what has a say in a promotion, by name of the metric."""
        metrics = {} if self.report is None else self.report.metrics
        return {name: metric for name, metric in metrics.items() if not metric.harm_only}

    def noted(self, progress: Progress) -> Progress:
        """Return `progress` with this evidence, or what it will be weighed against, in it."""
        if self.beginning is not None and progress.engine is None:
            return replace(progress, engine=self.beginning, base_rates=self.base_rates)
        if self.report is None or self.engine is None:
            return progress
        guardrails = self.guardrails
        return replace(
            progress,
            engine=self.engine,
            counted_until=self.fresh_end or progress.counted_until,
            verdict=str(self.report.verdict),
            probability_ok=1 - max(m.probability_worse_than_margin for m in guardrails.values()),
            samples=round(max(m.challenger_total for m in guardrails.values())),
            metrics=self.metrics or progress.metrics,
            reach=self.reach or progress.reach,
            unrecorded=_newest(progress.unrecorded, self.points),
        )


def judge(
    spec: ShadowExperimentSpec,
    progress: Progress,
    buckets: Iterable[Bucket],
    *,
    operator_started: datetime,
    engine: Engine | None = None,
) -> tuple[Judgment, Engine | None]:
    """Judge a run from its stored state and the buckets that were closed since.

    A stored roll-back stands without any bucket: a restarted operator judges before it acts.
    `engine`, where the caller still has the one that the stored state came from, goes on with
    the windows of its dispersions that are open, which no state holds; it is changed. Returns
    the engine as it is after the buckets, too.
    """
    if progress.engine is None or progress.evidence_from is None:
        return Judgment(), None
    base_rates = dict(progress.base_rates)
    if not answerable(spec, base_rates):
        return Judgment(message="the guardrails were changed"), None
    engine = engine or Engine.restored(spec, progress.attempt, base_rates, progress.engine)
    report = engine.decisions.report()
    seen_until = -math.inf if report.last_end is None else report.last_end
    judgment = Judgment(report=report, engine=progress.engine)
    increasing = progress.reached_at is None
    flows: dict[str, Flow] = {}
    for bucket in buckets:
        if bucket.end <= seen_until or bucket.start < progress.evidence_from.timestamp():
            continue
        end = datetime.fromtimestamp(bucket.end, UTC)
        fresh = bucket.state is EvidenceState.SUFFICIENT and end > operator_started
        rows = engine.rows(spec, bucket)
        # By a step, a scaled target or a restart: what hangs in new pods is not counted yet.
        joining = increasing or bucket.start < bucket.joined + spec.settle.total_seconds()
        now = engine.update(spec, bucket, gains_safety=not joining)
        harm_only = bucket.challenger_restarted or joining
        judgment = replace(
            judgment,
            report=now,
            state=str(bucket.state),
            message=bucket.message,
            fresh_end=end if fresh else judgment.fresh_end,
            reach=(judgment.reach or progress.reach).after(bucket),
            points=(*judgment.points, Point.of(bucket, rows, now, harm_only=harm_only)),
        )
        flows |= _flows(bucket, engine)
    if judgment.report is not report and judgment.report is not None:
        metrics = _metrics(spec, progress, judgment.report, flows)
        judgment = replace(judgment, engine=engine.dump(), metrics=metrics)
    return judgment, engine


def blind_since(
    progress: Progress, judgment: Judgment, *, operator_started: datetime
) -> datetime | None:
    """Return since when this operator has been watching without a bucket that sufficed.

    What an operator that was away did not see says nothing about the challenger.
    """
    if progress.evidence_from is None:
        return None
    seen = progress.counted_until, judgment.fresh_end
    return max(progress.evidence_from, operator_started, *(end for end in seen if end))


def _newest(unrecorded: Sequence[Manifest], points: Iterable[Point]) -> tuple[Manifest, ...]:
    """Return what awaits its record: bounded, should no record be written for very long."""
    return tuple([*unrecorded, *(point.render() for point in points)][-MOST_UNRECORDED:])


def _flows(bucket: Bucket, engine: Engine) -> dict[str, Flow]:
    """Return the traffic of a bucket, by metric: of those in which both versions were counted."""
    seconds = bucket.end - bucket.start
    return {
        name: Flow(counts[0] / seconds, counts[2] / seconds, scatter.phi)
        for name, scatter in engine.dispersions.items()
        if name in bucket.metrics and (counts := bucket.metrics[name].counts) is not None
    }


def _metrics(
    spec: ShadowExperimentSpec, progress: Progress, report: Report, flows: Mapping[str, Flow]
) -> tuple[Shown, ...]:
    specs, parameters = question(spec, progress.attempt, dict(progress.base_rates))
    risks = Risks(parameters["rollback_risk"], parameters["promotion_risk"])
    return shown(specs, report, risks, flows, progress.metrics)
