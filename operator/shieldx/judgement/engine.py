"""The decision engine of one run, as the spec of an experiment asks for it.

The operator feeds it live buckets, `shieldx replay` those of the past, and `shieldx simulate`
those of made-up versions; the question is put together here, once.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from shieldx.resources.shadowexperiment import (
    BadShare,
    Guardrail,
    ShadowExperimentSpec,
    Slowness,
)
from shieldx.signals.buckets import Bucket
from shieldx.stats import (
    RESTARTS,
    DecisionEngine,
    Dispersion,
    MetricSpec,
    Report,
    StateMismatchError,
    boundary_metrics,
    half_way_tolerance,
    named_under,
    risk_of_attempt,
)

logger = logging.getLogger(__name__)

# The counts of one metric in one bucket as the engine takes them, the dispersion last.
type Row = tuple[float, ...]

# No bucket gives more than a third of the evidence that a verdict needs.
BUCKET_SHARE: Final = 1 / 3
# So much of the capital of every bet waits until the champion's rate jumps, as in an outage.
RESERVE: Final = 0.1
# Above these a weight does not rise: even odds of ten for harm, or more likely worse than not.
DOUBTFUL_EVIDENCE: Final = 10.0
DOUBTFUL_PROBABILITY: Final = 0.5


@dataclass(slots=True)
class Engine:
    """The decision engine of one run, and the dispersion of its counts."""

    decisions: DecisionEngine
    dispersions: dict[str, Dispersion]

    @classmethod
    def begin(
        cls,
        spec: ShadowExperimentSpec,
        attempt: int,
        base_rates: Mapping[str, float],
        dispersions: Mapping[str, Dispersion],
    ) -> Self:
        """Return an engine that has seen nothing of the challenger yet.

        `dispersions` are of the champion's past, by metric; none is a past without scatter.
        """
        specs, parameters = question(spec, attempt, base_rates)
        names = [each.name for each in specs if each is not RESTARTS]
        scatter = {name: dispersions.get(name) or Dispersion() for name in names}
        return cls(DecisionEngine(specs, **parameters), scatter)

    @classmethod
    def load(
        cls, spec: ShadowExperimentSpec, attempt: int, base_rates: Mapping[str, float], state: str
    ) -> Self:
        """Return the engine whose `dump` this was."""
        stored = json.loads(state)
        specs, parameters = question(spec, attempt, base_rates)
        return cls(
            DecisionEngine.load(specs, stored["engine"], **parameters),
            {name: Dispersion.load(phi) for name, phi in stored["dispersions"].items()},
        )

    @classmethod
    def restored(
        cls, spec: ShadowExperimentSpec, attempt: int, base_rates: Mapping[str, float], state: str
    ) -> Self:
        """Return the engine of a stored state, or a new one where that state is of no use.

        An upgrade may change the engine, and evidence for one question says nothing about
        another.
        """
        try:
            return cls.load(spec, attempt, base_rates, state)
        except StateMismatchError as another:
            logger.warning("The evidence gathered so far is of no use: %s", another)
            return cls.begin(spec, attempt, base_rates, {})

    def dump(self) -> str:
        """Return the whole state as text, for the status."""
        state = {
            "engine": self.decisions.dump(),
            "dispersions": {name: phi.dump() for name, phi in self.dispersions.items()},
        }
        return json.dumps(state, separators=(",", ":"))

    def update(
        self, spec: ShadowExperimentSpec, bucket: Bucket, *, gains_safety: bool = True
    ) -> Report:
        """Take in one bucket.

        Without `gains_safety` it can only prove harm: pods are joining, and what hangs in them
        is not counted yet.
        """
        rows = self.rows(spec, bucket)  # Dispersion is of past buckets only.
        for name, phi in self.dispersions.items():
            if (metric := bucket.metrics.get(name)) is not None:
                phi.add(champion=metric.champion, challenger=metric.challenger)
        harm_only = bucket.challenger_restarted or not gains_safety
        return self.recall(spec, rows, bucket.end, harm_only=harm_only)

    def rows(self, spec: ShadowExperimentSpec, bucket: Bucket) -> dict[str, Row | None]:
        """Return what the next update would weigh: counts and dispersion, by metric.

        None where a metric was not counted, or has a boundary that is not there.
        """
        rows: dict[str, Row | None] = {}
        for name in metric_names(spec, self.dispersions):
            metric = bucket.metrics.get(name)
            counts = None if metric is None else metric.counts
            rows[name] = None if counts is None else (*counts, self.dispersions[name].phi)
        return {**rows, RESTARTS.name: bucket.restarts}

    def recall(
        self,
        spec: ShadowExperimentSpec,
        rows: Mapping[str, Row | None],
        end: float,
        *,
        harm_only: bool,
    ) -> Report:
        """Weigh `rows` as they are, with the dispersions that they hold."""
        names = (*metric_names(spec, self.dispersions), RESTARTS.name)
        counts: list[Any] = [rows.get(name) for name in names]
        return self.decisions.update(counts, end, challenger_restarted=harm_only)


def question(
    spec: ShadowExperimentSpec, attempt: int, base_rates: Mapping[str, float]
) -> tuple[Sequence[MetricSpec], dict[str, Any]]:
    """Return the metrics that a spec judges by, restarts last, and the engine's parameters."""
    decision = spec.decision
    recent = math.ceil(decision.min_duration / decision.bucket)
    parameters = {
        "rollback_risk": risk_of_attempt(decision.rollback_risk, attempt),
        "promotion_risk": risk_of_attempt(decision.promotion_risk, attempt),
        "min_buckets": decision.min_buckets,
        "bucket_share": BUCKET_SHARE,
        "recent_buckets": recent,
        "reserve": RESERVE,
    }
    metrics = [each for it in spec.guardrails for each in _metrics(it, base_rates)]
    return [*metrics, RESTARTS], parameters


def metric_names(spec: ShadowExperimentSpec, known: Iterable[str]) -> list[str]:
    """Return which of the known names are metrics of the spec, in the order of its question."""
    names = list(known)
    return [
        name
        for guardrail in spec.guardrails
        for name in names
        if name == guardrail.name or name in named_under(guardrail.name, names)
    ]


def answerable(spec: ShadowExperimentSpec, base_rates: Mapping[str, float]) -> bool:
    """Whether these rates were frozen for the question of the spec."""
    names = metric_names(spec, base_rates)
    asked = all(
        guardrail.name in names
        if isinstance(guardrail.measure, BadShare)
        else named_under(guardrail.name, names)
        for guardrail in spec.guardrails
    )
    return asked and len(names) == len(base_rates)


def doubtful(report: Report) -> bool:
    """Whether harm is so likely that no weight should rise."""
    return report.log_e_rollback >= math.log(DOUBTFUL_EVIDENCE) or any(
        metric.probability_worse_than_margin >= DOUBTFUL_PROBABILITY
        for metric in report.metrics.values()
        if not metric.harm_only
    )


def _metrics(guardrail: Guardrail, base_rates: Mapping[str, float]) -> list[MetricSpec]:
    relative, absolute = guardrail.margin.relative, guardrail.margin.absolute
    match guardrail.measure:
        case BadShare():
            base_rate, tolerance = base_rates[guardrail.name], guardrail.tolerance
            half_way = half_way_tolerance(base_rate, relative, absolute)
            return [
                MetricSpec(
                    guardrail.name,
                    base_rate=base_rate,
                    margin_rel=relative,
                    margin_abs=absolute,
                    tolerance_rel=half_way if tolerance is None else tolerance,
                )
            ]
        case Slowness(quantile=quantile):
            # Before the champion was measured, as in a forecast, there is the quantile alone.
            names = named_under(guardrail.name, base_rates) or [guardrail.name]
            return boundary_metrics(
                {name: base_rates[name] for name in names},
                quantile,
                margin_rel=relative,
                margin_abs=absolute,
                tolerance_rel=guardrail.tolerance,
            )
