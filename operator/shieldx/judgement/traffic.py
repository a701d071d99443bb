"""Whether there will be traffic enough: what a margin needs, against what `maxDuration` can bring.

An experiment that starves looks like one that works: it goes on, and nothing is ever decided. Its
traffic is known only after a trial, so before one the question is what it would need, and
whether that is more than most have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, isinf
from typing import Final

from shieldx.judgement.engine import question
from shieldx.resources.durations import format_duration
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.stats import MetricSpec, requests_to_decide

# Needing more than this is worth a word to someone whose traffic is not known.
MUCH_TRAFFIC: Final = 10.0
# The API server may cut off what is longer.
LONGEST_WARNING: Final = 256


@dataclass(frozen=True, slots=True)
class Shortage:
    """A guardrail for which a challenger that is equal is not promoted in time, often enough.

    `requests` of both versions are needed in one case of two, `late` in one of ten; `per_second`
    is what `late` takes, and `present` what there is, None where that is not known.
    """

    guardrail: str
    base_rate: float
    margin_rate: float
    requests: float
    late: float
    per_second: float
    present: float | None
    available: timedelta

    def __str__(self) -> str:
        have = "" if self.present is None else f" and not {self.present:.3g}/s"
        needs = (
            f"{_short(self.requests)} requests (1 in 10 cases: {_short(self.late)}), "
            f"{_short(self.per_second)}/s{have} in maxDuration {format_duration(self.available)}"
            if not isinf(self.late)
            else "endless requests"
        )
        return (
            f"guardrail {self.guardrail}: proving under {_percent(self.margin_rate)} at "
            f"{_percent(self.base_rate)} takes {needs}. Twice the margin takes a quarter; or "
            "raise maxDuration. See: shieldx simulate"
        )


def shortages(
    spec: ShadowExperimentSpec, present: Mapping[str, float] | None = None
) -> Iterator[Shortage]:
    """Yield the guardrails that need more traffic than there is, or than most have.

    `present` is how many requests a second there were lately, by guardrail.
    """
    rates = {each.name: each.base_rate for each in spec.guardrails}
    available = spec.decision.max_duration - len(spec.steps) * spec.settle
    for metric in question(spec, 0, rates)[0]:
        if metric.harm_only:
            continue
        needed, late = _needed(spec, metric)
        there = (present or {}).get(metric.name)
        per_second = late / max(available.total_seconds(), 1.0)
        if per_second > (MUCH_TRAFFIC if there is None else there):
            yield Shortage(
                metric.name,
                metric.base_rate,
                metric.margin_at(metric.base_rate).at(metric.base_rate),
                needed,
                late,
                per_second,
                there,
                spec.decision.max_duration,
            )


def _needed(spec: ShadowExperimentSpec, metric: MetricSpec) -> tuple[float, float]:
    """Return what an equal challenger needs at the last weight, the median and in 1 of 10 cases."""
    risk, share = spec.decision.promotion_risk, spec.steps[-1].weight / 100
    return (
        requests_to_decide(metric, risk=risk, share=share),
        requests_to_decide(metric, risk=risk, share=share, quantile=0.9),
    )


def _short(number: float) -> str:
    for unit, word in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{min(number / unit, 999.0):.3g}{word}"
    return f"{ceil(number)}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
