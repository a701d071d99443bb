"""`status.metrics`: the evidence on each metric as people read it, and what is still missing; pure.

Nothing is decided by what stands here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from shieldx.resources.durations import format_duration
from shieldx.stats import MetricReport, MetricSpec, Report, requests_missing

LARGEST_SHOWN: Final = 1e9
LONGEST_SHOWN: Final = timedelta(days=30)
# How much of the requests a second that are shown is of the newest bucket: the last ten or so.
NEWEST: Final = 0.2

type Shown = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flow:
    """What came in lately for one metric: requests a second, and how unevenly they fail."""

    champion: float
    challenger: float
    phi: float = 1.0

    @property
    def per_second(self) -> float:
        return self.champion + self.challenger


@dataclass(frozen=True, slots=True)
class Risks:
    """What one run may risk, so what its verdicts need."""

    rollback: float
    promotion: float


def shown(
    specs: Sequence[MetricSpec],
    report: Report,
    risks: Risks,
    flows: Mapping[str, Flow],
    before: Sequence[Mapping[str, Any]],
) -> tuple[Shown, ...]:
    """Return the evidence of a report, one entry a metric; `before` is what was shown last."""
    lately = {each["name"]: float(each.get("requestsPerSecond", "nan")) for each in before}
    total_weight = sum(spec.weight for spec in specs)
    return tuple(
        _shown(
            spec,
            report.metrics[spec.name],
            Risks(risks.rollback * spec.weight / total_weight, risks.promotion),
            flows.get(spec.name),
            lately.get(spec.name, math.nan),
        )
        for spec in specs
    )


def _shown(
    spec: MetricSpec, metric: MetricReport, risks: Risks, flow: Flow | None, lately: float
) -> Shown:
    low, high = metric.interval
    entry = {
        "name": spec.name,
        "champion": _arm(metric.champion_total, metric.champion_bad),
        "challenger": _arm(metric.challenger_total, metric.challenger_bad),
        "evidenceOfHarm": e_value(metric.log_e_harm),
        "towardRollback": _progress(metric.log_e_harm, risks.rollback),
        "ratio": {
            "estimate": f"{math.sqrt(low * high):.3g}",
            "low": f"{low:.3g}",
            "high": f"{high:.3g}",
        },
        "probabilityBetter": f"{metric.probability_better:.3f}",
        "expectedLoss": f"{100 * metric.expected_loss:.2f}%",
    }
    per_second = _smoothed(lately, flow)
    if not math.isnan(per_second):
        entry["requestsPerSecond"] = f"{per_second:.1f}"
    if not spec.harm_only:
        entry |= {
            "evidenceOfSafety": e_value(metric.log_e_noninferiority),
            "towardPromotion": _progress(metric.log_e_noninferiority, risks.promotion),
            "probabilityWorse": f"{metric.probability_worse_than_margin:.3f}",
            "missing": _missing(spec, metric, risks.promotion, flow, per_second),
        }
    return entry


def _arm(total: float, bad: float) -> Shown:
    return {"requests": round(total), "bad": round(bad)}


def _progress(log_e: float, risk: float) -> str:
    """Return how far evidence is on its way: of its logarithm, since that is what adds up."""
    return f"{100 * min(max(log_e / math.log(1 / risk), 0.0), 1.0):.0f}%"


def _smoothed(lately: float, flow: Flow | None) -> float:
    if flow is None:
        return lately
    if math.isnan(lately):
        return flow.per_second
    return lately + NEWEST * (flow.per_second - lately)


def _missing(
    spec: MetricSpec, metric: MetricReport, risk: float, flow: Flow | None, per_second: float
) -> Shown:
    """Return what safety lacks, if both versions go on as they have so far."""
    recent = metric.probability_worse_than_margin_recent
    if metric.log_e_noninferiority >= math.log(1 / risk):
        if recent is not None and recent >= 0.5:  # noqa: PLR2004 - more likely than not.
            return {"message": "the last minDuration alone looks worse than the margin"}
        return {"requests": 0, "time": "0s", "message": "nothing is missing"}
    requests = _requests_missing(spec, metric, risk, flow)
    if math.isinf(requests):
        return {"message": "evidence does not grow as both versions are now"}
    entry: Shown = {"requests": math.ceil(requests)}
    if math.isnan(per_second) or per_second <= 0:
        return {**entry, "message": f"about {requests:,.0f} requests are missing, and none come in"}
    time = timedelta(seconds=min(math.ceil(requests / per_second), LONGEST_SHOWN.total_seconds()))
    entry["time"] = format_duration(time)
    takes = f"{'more than ' if time == LONGEST_SHOWN else ''}{entry['time']}"
    return {
        **entry,
        "message": f"about {requests:,.0f} requests are missing, {takes} at the present "
        f"{per_second:.1f} a second",
    }


def _requests_missing(
    spec: MetricSpec, metric: MetricReport, risk: float, flow: Flow | None
) -> float:
    total = metric.champion_total + metric.challenger_total
    if total <= 0:
        return math.inf
    share = metric.challenger_total / total
    if flow is not None and min(flow.champion, flow.challenger) > 0:
        share = flow.challenger / flow.per_second
    if not 0.0 < share < 1.0:
        return math.inf
    low, high = metric.interval
    champion = (metric.champion_bad + spec.base_rate) / (metric.champion_total + 1)
    requests = requests_missing(
        spec,
        "noninferiority",
        metric.log_e_noninferiority,
        champion_rate=champion,
        challenger_rate=min(champion * math.sqrt(low * high), 1.0),
        risk=risk,
        share=share,
    )
    return requests * (1.0 if flow is None else flow.phi)


def e_value(log_e: float) -> str:
    """Return an e-value as people read it."""
    return f"{min(math.exp(min(log_e, 50.0)), LARGEST_SHOWN):.3g}"
