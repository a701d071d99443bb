"""`ShadowExperiment`: what the user asks for.

The API server has applied defaults and rules of the CRD before this is read, so a missing field
is a defect of the CRD, not of the user.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Self

from shieldx.resources.durations import parse_duration

API_VERSION: Final = "shieldx.io/v1alpha1"
KIND: Final = "ShadowExperiment"
RUN_KIND: Final = "ExperimentRun"
# On a Deployment under experiment, with the experiment's name: the webhook selects by it.
EXPERIMENT_LABEL: Final = "shieldx.io/experiment"
# On a Deployment that the webhook paused: who holds it. Who pauses by hand does not set it.
HELD_ANNOTATION: Final = "shieldx.io/held-by"
# On the challenger and its pods, with the target's name: what tells them from the champion's.
CHALLENGER_LABEL: Final = "shieldx.io/challenger-of"
RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"

# What a Deployment appends to its name: the hash of a ReplicaSet, and five characters of a pod.
_OF_A_DEPLOYMENT: Final = "-[a-z0-9]+-[a-z0-9]{5}"

# What a relay answers to its app. Decided is what the ledger did or refused: no reads, nothing that
# may be tried again, and no batches of the app's own, whose answer tells nothing of their parts.
RELAY_ANSWERS: Final = "shieldx_relay_requests_total"
REFUSED: Final = 'status=~"402|404|409|422"'
DECIDED: Final = 'route!~"get_.*|list_.*|batch|none",status=~"200|201|402|404|409|422"'


@dataclass(frozen=True, slots=True)
class Step:
    """One weight in percent, and how long it is held at least."""

    weight: int
    hold: timedelta


@dataclass(frozen=True, slots=True)
class Margin:
    """How much worse the challenger may be; one of both is zero."""

    absolute: float
    relative: float


@dataclass(frozen=True, slots=True)
class PodsEndpoint:
    """Where the pods themselves show their metrics."""

    port: int
    path: str


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A Prometheus that scrapes the pods, and how to find them in it."""

    url: str
    match_labels: Mapping[str, str]
    pod_label: str
    scrape_interval: timedelta


type Source = PodsEndpoint | PrometheusServer


@dataclass(frozen=True, slots=True)
class BadShare:
    """A counter of which some series are bad, by label matchers; `among`: those that count at all.

    With a `ledger` it is one of the pod's relay to that ledger, and not of the app itself. With
    `of`, another counter of the app, that one counts all.
    """

    counter: str
    bad: str
    among: str = ""
    ledger: str | None = None
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Slowness:
    """A histogram of latencies; what is beyond its boundary nearest the quantile is slow."""

    histogram: str
    quantile: float


type Measure = BadShare | Slowness


@dataclass(frozen=True, slots=True)
class Guardrail:
    """What must not get worse, and by how much; all numbers are shares, 0.01 is 1 %.

    `base_rate`: the bad share that is assumed where nothing was measured.
    """

    name: str
    measure: Measure
    margin: Margin
    tolerance: float | None
    base_rate: float


class OnDeadline(StrEnum):
    """What becomes of a challenger on which there is no verdict in time; never a promotion."""

    HOLD = "hold"
    ROLLBACK = "rollback"


class NoData(StrEnum):
    """What becomes of a challenger that cannot be measured; never a promotion."""

    WAIT = "wait"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Decision:
    """How sure a decision must be, and what happens without one."""

    rollback_risk: float
    promotion_risk: float
    bucket: timedelta
    min_buckets: int
    min_duration: timedelta
    max_duration: timedelta
    on_deadline: OnDeadline
    no_data: NoData
    no_data_after: timedelta


@dataclass(frozen=True, slots=True)
class ShadowExperimentSpec:
    """The whole of `spec`."""

    target: str
    service: str
    max_challenger_replicas: int
    steps: tuple[Step, ...]
    settle: timedelta  # after an increase, evidence starts after this time
    source: Source
    guardrails: tuple[Guardrail, ...]
    decision: Decision
    run_history_limit: int  # records of the target that are kept
    paused: bool

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> Self:
        """Read a spec that the API server has accepted."""
        strategy, metrics, decision = spec["strategy"], spec["metrics"], spec["decision"]
        return cls(
            target=spec["target"]["name"],
            service=spec["traffic"]["service"],
            max_challenger_replicas=spec["traffic"]["replicas"]["maxChallengerReplicas"],
            steps=tuple(
                Step(step["weight"], parse_duration(step["for"])) for step in strategy["steps"]
            ),
            settle=max(
                parse_duration(strategy["warmUp"]), parse_duration(strategy["requestTimeout"])
            ),
            source=_source(metrics["source"]),
            guardrails=tuple(_guardrail(each) for each in metrics["guardrails"]),
            decision=Decision(
                rollback_risk=parse_percentage(decision["rollbackRisk"]),
                promotion_risk=parse_percentage(decision["promotionRisk"]),
                bucket=parse_duration(decision["bucket"]),
                min_buckets=decision["minBuckets"],
                min_duration=parse_duration(decision["minDuration"]),
                max_duration=parse_duration(decision["maxDuration"]),
                on_deadline=OnDeadline(decision["onDeadline"]),
                no_data=NoData(decision["noData"]),
                no_data_after=parse_duration(decision["noDataAfter"]),
            ),
            run_history_limit=spec["runHistoryLimit"],
            paused=spec["paused"],
        )


def champion_pods(target: str) -> str:
    """Return the regular expression that the names of the target's pods match.

    The name of a target has only letters, digits and dashes, and means itself.
    """
    return f"{target}{_OF_A_DEPLOYMENT}"


def challenger_name(target: str) -> str:
    """Return the name of the challenger's Deployment."""
    return f"{target}-challenger"


def challenger_pods(target: str) -> str:
    """Return the regular expression that the names of the challenger's pods match."""
    return champion_pods(challenger_name(target))


def parse_percentage(text: str) -> float:
    """Return the share that `text` says: "0.5%" is 0.005."""
    number, sign, rest = text.partition("%")
    if not sign or rest:
        raise ValueError(f"{text!r} is not a percentage: write it as 0.5%")
    return float(number) / 100


def _source(source: Mapping[str, Any]) -> Source:
    if "pods" in source:
        return PodsEndpoint(port=source["pods"]["port"], path=source["pods"]["path"])
    prometheus = source["prometheus"]
    return PrometheusServer(
        url=prometheus["url"],
        match_labels=prometheus["matchLabels"],
        pod_label=prometheus["podLabel"],
        scrape_interval=parse_duration(prometheus["scrapeInterval"]),
    )


def _guardrail(guardrail: Mapping[str, Any]) -> Guardrail:
    margin, tolerance = guardrail["margin"], guardrail.get("tolerance")
    measure = _measure(guardrail)
    return Guardrail(
        name=guardrail["name"],
        measure=measure,
        margin=Margin(
            absolute=parse_percentage(margin.get("absolute", "0%")),
            relative=parse_percentage(margin.get("relative", "0%")),
        ),
        tolerance=None if tolerance is None else parse_percentage(tolerance),
        base_rate=parse_percentage(guardrail["baseRate"])
        if isinstance(measure, BadShare)
        else 1 - measure.quantile,
    )


def _measure(guardrail: Mapping[str, Any]) -> Measure:
    if "counter" in guardrail:
        bad, of = guardrail.get("bad", ""), guardrail.get("of")
        return BadShare(guardrail["counter"], bad, of=of)
    if "ledgerRef" in guardrail:
        return BadShare(RELAY_ANSWERS, REFUSED, DECIDED, guardrail["ledgerRef"])
    return Slowness(guardrail["histogram"], float(guardrail["quantile"]))


def revision(template: Mapping[str, Any]) -> str:
    """Return the hash by which a pod template is known: of all but what changes no container.

    A template that differs only by the time of a restart, or by the label with which a
    ReplicaSet finds its pods, is the same revision.
    """
    metadata = template.get("metadata", {})
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != "pod-template-hash"}
    annotations = {
        k: v for k, v in (metadata.get("annotations") or {}).items() if k != RESTARTED_AT
    }
    significant = [labels, annotations, template.get("spec", {})]
    canonical = json.dumps(significant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
