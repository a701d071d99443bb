"""Why an experiment is where it is: its status, and the engine's state in it, as numbers; pure.

Exact where the state of the engine is there, as in the record of a run that is over. Of one that
another version has judged there are the numbers as they were shown.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from shieldx.judgement.engine import Engine, answerable, question
from shieldx.resources.shadowexperiment import (
    BadShare,
    Guardrail,
    PodsEndpoint,
    PrometheusServer,
    ShadowExperimentSpec,
    Slowness,
    challenger_pods,
    champion_pods,
)
from shieldx.stats import (
    MetricReport,
    MetricSpec,
    Report,
    StateMismatchError,
    histogram_of,
    risk_of_attempt,
)

type Json = dict[str, Any]

# In these the evidence is not what was decided on, but what there is so far.
UNDECIDED: Final = frozenset({"Preparing", "Stepping", "Inconclusive", "Paused", "Unfinished"})


@dataclass(frozen=True, slots=True)
class Trial:
    """What is explained: the spec that judges, and what has become of it."""

    name: str
    namespace: str
    run: str | None
    spec: ShadowExperimentSpec
    attempt: int
    status: Mapping[str, Any]
    decided_at: str | None = None  # None while it is not, or where nothing tells

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", "Invalid"))

    def judged_by(self, record: Mapping[str, Any]) -> "Trial":
        """Return it with what its record knows: the spec that it was decided by, and when.

        The spec of an experiment may have been changed since.
        """
        known = of_run(record)
        return replace(self, spec=known.spec, decided_at=known.decided_at)


def of_experiment(live: Mapping[str, Any]) -> Trial:
    """Return the trial that an experiment is at, or was at last."""
    status = live.get("status", {})
    return Trial(
        live["metadata"]["name"],
        live["metadata"].get("namespace", ""),
        status.get("runRef"),
        ShadowExperimentSpec.parse(live["spec"]),
        status.get("attempt", 0),
        status,
    )


def of_run(record: Mapping[str, Any]) -> Trial:
    """Return the trial that an ExperimentRun is the record of."""
    spec, status = record["spec"], record.get("status", {})
    return Trial(
        spec["experiment"],
        record["metadata"].get("namespace", ""),
        record["metadata"]["name"],
        ShadowExperimentSpec.parse(spec["configuration"]),
        spec["attempt"],
        {
            **status,
            "baseRates": status.get("trajectory", {}).get("baseRates", []),
            "phase": status.get("outcome", "Unfinished"),
            "since": status.get("finishedAt"),
            "champion": spec.get("champion"),
            "challenger": spec["challenger"],
        },
        status.get("finishedAt"),
    )


def explain(trial: Trial) -> Json:
    """Return all that the present verdict rests on."""
    status, spec = trial.status, trial.spec
    specs, engine = _judged(trial)
    report = None if engine is None else engine.decisions.report()
    decision = spec.decision
    risks = {
        "rollback": risk_of_attempt(decision.rollback_risk, trial.attempt),
        "promotion": risk_of_attempt(decision.promotion_risk, trial.attempt),
    }
    return _known(
        {
            "experiment": trial.name,
            "namespace": trial.namespace,
            "run": trial.run,
            "phase": trial.phase,
            "since": status.get("since"),
            "decision": status.get("decision"),
            "champion": status.get("champion"),
            "challenger": status.get("challenger"),
            "attempt": trial.attempt + 1,
            "risks": risks,
            "needed": {name: 1 / risk for name, risk in risks.items()},
            "step": status.get("step"),
            "verdict": str(report.verdict) if report else status.get("verdict"),
            "buckets": report.buckets if report else None,
            "asOf": _as_of(trial, report),
            "logEvidenceOfHarm": report.log_e_rollback if report else None,
            "blame": report.blame if report else None,
            "source": _source(spec),
            "metrics": list(_metrics(trial, specs, engine, risks)),
            "conditions": dict(_telling(status.get("conditions", []))),
        }
    )


def _telling(conditions: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the conditions of the evidence that say more than that all is well."""
    quiet = {
        ("Stalled", "False"),
        ("EvidenceSufficient", "Unknown"),
        ("TrafficVerified", "Unknown"),
    }
    for each in conditions:
        kind, truth = each["type"], each["status"]
        if kind in {name for name, _ in quiet} and (kind, truth) not in quiet:
            yield kind, f"{truth}: {each['message']}"


def _known(answer: Json) -> Json:
    return {name: value for name, value in answer.items() if value not in (None, {}, "")}


def _as_of(trial: Trial, report: Report | None) -> Json:
    """Return when all that is shown was so."""
    end = None if report is None else report.last_end
    return _known(
        {
            "decided": trial.status.get("pausedFrom", trial.phase) not in UNDECIDED,
            "decidedAt": trial.decided_at,
            "lastBucketEnd": None if end is None else f"{datetime.fromtimestamp(end, UTC):%FT%TZ}",
        }
    )


def _judged(trial: Trial) -> tuple[Sequence[MetricSpec], Engine | None]:
    """Return what was asked, and the engine as far as there is a state of it that can be read."""
    status, rates = trial.status, _base_rates(trial.status)
    if not answerable(trial.spec, rates):
        rates = {each.name: each.base_rate for each in trial.spec.guardrails}
        return question(trial.spec, trial.attempt, rates)[0], None
    specs, _ = question(trial.spec, trial.attempt, rates)
    if "engine" not in status:
        return specs, None
    try:
        return specs, Engine.load(trial.spec, trial.attempt, rates, status["engine"])
    except StateMismatchError:
        return specs, None


def _base_rates(status: Mapping[str, Any]) -> dict[str, float]:
    return {each["name"]: float(each["rate"]) for each in status.get("baseRates", [])}


def _source(spec: ShadowExperimentSpec) -> Json:
    source = spec.source
    if isinstance(source, PodsEndpoint):
        return {"pods": f"http://POD:{source.port}{source.path}"}
    return {
        "prometheus": source.url,
        "champion": _series(source, champion_pods(spec.target)),
        "challenger": _series(source, challenger_pods(spec.target)),
    }


def _series(source: PrometheusServer, pods: str) -> str:
    matchers = [
        f"{source.pod_label}=~{json.dumps(pods)}",
        *(f"{label}={json.dumps(value)}" for label, value in source.match_labels.items()),
    ]
    return f"{{{','.join(matchers)}}}"


def _metrics(
    trial: Trial, specs: Sequence[MetricSpec], engine: Engine | None, risks: Mapping[str, float]
) -> Iterator[Json]:
    reports = None if engine is None else engine.decisions.report().metrics
    scatter = {} if engine is None else {name: it.phi for name, it in engine.dispersions.items()}
    shown = {each["name"]: each for each in trial.status.get("metrics", [])}
    guardrails = {each.name: each for each in trial.spec.guardrails}
    weight = sum(spec.weight for spec in specs)
    for spec in specs:
        name = spec.name
        if reports is None and name not in shown:
            continue
        rates = {
            "frozen": spec.base_rate,
            "harmAbove": spec.tolerated.at(spec.base_rate),
            **(
                {}
                if spec.harm_only
                else {"margin": spec.margin_at(spec.base_rate).at(spec.base_rate)}
            ),
        }
        yield _known(
            {
                "name": name,
                "query": _query(guardrails.get(histogram_of(name)), name),
                "championRates": rates,
                **(
                    _of_record(shown[name])
                    if reports is None
                    else _exact(spec, reports[name], risks, spec.weight / weight)
                ),
                "dispersion": scatter.get(name),
                "missing": shown.get(name, {}).get("missing", {}).get("message"),
            }
        )


def _query(guardrail: Guardrail | None, name: str) -> Json:
    match None if guardrail is None else guardrail.measure:
        case None:
            return {"all": "pods, bucket by bucket", "bad": "those with a restart"}
        case BadShare(counter, bad, among, ledger, of):
            relay = {} if ledger is None else {"relay": f"of each pod to the ledger {ledger}"}
            both = ",".join(part for part in (among, bad) if part)
            every = of or _selected(counter, among)
            return {"all": every, "bad": _selected(counter, both), **relay}
        case Slowness(histogram):
            boundary = name.removeprefix(f"{histogram_of(name)}<=")
            every = f'{histogram}_bucket{{le="+Inf"}}'
            return {"all": every, "bad": f'{every} less {histogram}_bucket{{le="{boundary}"}}'}


def _selected(counter: str, matchers: str) -> str:
    return f"{counter}{{{matchers}}}" if matchers else counter


def _exact(
    spec: MetricSpec, metric: MetricReport, risks: Mapping[str, float], weight: float
) -> Json:
    answer: Json = {
        "counted": {
            "champion": _arm(metric.champion_total, metric.champion_bad),
            "challenger": _arm(metric.challenger_total, metric.challenger_bad),
        },
        "harm": _evidence(metric.log_e_harm, risks["rollback"] * weight),
        "ratio": {
            "estimate": math.sqrt(metric.interval[0] * metric.interval[1]),
            "low": metric.interval[0],
            "high": metric.interval[1],
        },
        "probabilityBetter": metric.probability_better,
    }
    if not spec.harm_only:
        answer |= {
            "safety": _evidence(metric.log_e_noninferiority, risks["promotion"]),
            "probabilityWorse": metric.probability_worse_than_margin,
            "probabilityWorseLately": metric.probability_worse_than_margin_recent,
        }
    return answer


def _arm(total: float, bad: float) -> Json:
    return {"total": round(total), "bad": round(bad)}


def _evidence(log_e: float, risk: float) -> Json:
    """Return a log e-value, what it is held against, and how far it is on its way there."""
    needed = math.log(1 / risk)
    return {"log": log_e, "neededLog": needed, "done": min(max(log_e / needed, 0.0), 1.0)}


def _of_record(shown: Mapping[str, Any]) -> Json:
    """Return what a record says, rounded as it was shown."""
    arms = {
        arm: {"total": shown[arm]["requests"], "bad": shown[arm]["bad"]}
        for arm in ("champion", "challenger")
        if arm in shown
    }
    ratio = shown.get("ratio", {})
    return {
        "counted": arms,
        "harm": _shown_evidence(shown, "evidenceOfHarm", "towardRollback"),
        "safety": _shown_evidence(shown, "evidenceOfSafety", "towardPromotion"),
        "ratio": {name: float(value) for name, value in ratio.items()},
        **{
            name: float(shown[name])
            for name in ("probabilityWorse", "probabilityBetter")
            if name in shown
        },
    }


def _shown_evidence(shown: Mapping[str, Any], value: str, done: str) -> Json:
    if value not in shown:
        return {}
    evidence = float(shown[value])
    answer: Json = {"log": math.log(evidence)} if evidence > 0 else {}
    if done in shown:
        answer["done"] = float(str(shown[done]).removesuffix("%")) / 100
    return answer
