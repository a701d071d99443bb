"""Why an experiment is where it is: one word of a closed set, and what a weight waits for; pure.

The same conditions hold a weight back and are told to people, so that they cannot disagree.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from controllers.shadowexperiment.facts import Situation
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.progress import Outcome, Progress
from controllers.shadowexperiment.shown import e_value
from controllers.shadowexperiment.verdicts import Judgment
from shieldx.judgement.engine import DOUBTFUL_EVIDENCE, DOUBTFUL_PROBABILITY, doubtful
from shieldx.signals.states import EvidenceState


class Why(StrEnum):
    """Why the phase is what it is, or what its present step waits for."""

    # what a step waits for
    PODS_START = "PodsStart"
    STEP_TIME = "StepTime"
    NO_FRESH_EVIDENCE = "NoFreshEvidence"
    HARM_IN_DOUBT = "HarmInDoubt"
    LIKELY_WORSE = "LikelyWorse"
    LEAST_DURATION = "LeastDuration"
    MORE_EVIDENCE = "MoreEvidence"
    # how a challenger fared
    HARM = "Harm"
    SAFETY = "Safety"
    PODS_FAIL = "PodsFail"
    DEADLINE = "Deadline"
    NO_DATA = "NoData"
    PASSED = "Passed"
    WITHDRAWN = "Withdrawn"
    # what is asked of people
    INVALID = "Invalid"
    PAUSED = "Paused"


_OF_OUTCOMES: Final[Mapping[Outcome, Why]] = {
    Outcome.PROMOTED: Why.SAFETY,
    Outcome.ROLLED_BACK: Why.HARM,
    Outcome.FAILED: Why.PODS_FAIL,
    Outcome.INCONCLUSIVE: Why.DEADLINE,
    Outcome.NO_DATA: Why.NO_DATA,
    Outcome.PASSED: Why.PASSED,
    Outcome.WITHDRAWN: Why.WITHDRAWN,
}


@dataclass(frozen=True, slots=True)
class Wait:
    """What a weight, or a promotion, waits for."""

    why: Why
    message: str


def waiting(situation: Situation) -> Wait | None:
    """Return what keeps the weight of the present step, or nothing: then it may rise.

    It rises on fresh evidence only: blind, in doubt, or just restarted it stays.
    """
    spec, before, judgment = situation.spec, situation.before, situation.judgment
    if before.reached_at is None or before.served_since is None:
        return Wait(Why.PODS_START, "its pods are not ready yet")
    index = min(before.step, len(spec.steps)) - 1
    held_until = before.reached_at + spec.steps[index].hold
    if situation.now < held_until:
        return Wait(Why.STEP_TIME, f"it is held until {_clock(held_until)}")
    if judgment.state != EvidenceState.SUFFICIENT:
        return Wait(Why.NO_FRESH_EVIDENCE, f"there is no fresh evidence, {judgment.message}")
    doubt = _doubt(judgment)
    if doubt is None and index + 1 == len(spec.steps):
        doubt = _unproven(situation, before.served_since + spec.decision.min_duration)
    fresh = judgment.fresh_end is not None and judgment.fresh_end >= held_until
    if doubt is None and not fresh:
        return Wait(Why.NO_FRESH_EVIDENCE, "the next bucket decides")
    return doubt


def _unproven(situation: Situation, earliest: datetime) -> Wait | None:
    if situation.now < earliest:
        return Wait(Why.LEAST_DURATION, f"minDuration is over at {_clock(earliest)}")
    if situation.judgment.proven:
        return None
    lacking = max(
        (each for each in situation.before.metrics if "missing" in each),
        key=lambda each: each["missing"].get("requests", math.inf),
        default=None,
    )
    if lacking is None:
        return Wait(Why.MORE_EVIDENCE, "safety is not proven yet")
    return Wait(Why.MORE_EVIDENCE, f"safety of {lacking['name']}: {lacking['missing']['message']}")


def _doubt(judgment: Judgment) -> Wait | None:
    """Return why harm is so likely, or so little is known, that no weight should rise."""
    report = judgment.report
    if report is None or not report.buckets:
        return Wait(Why.NO_FRESH_EVIDENCE, "no bucket of this run was counted yet")
    if not doubtful(report):
        return None
    if report.log_e_rollback >= math.log(DOUBTFUL_EVIDENCE):
        return Wait(
            Why.HARM_IN_DOUBT,
            f"evidence of harm is {e_value(report.log_e_rollback)}, which must be below "
            f"{DOUBTFUL_EVIDENCE:.0f}",
        )
    worse = {k: m.probability_worse_than_margin for k, m in judgment.guardrails.items()}
    name = max(worse, key=worse.__getitem__)
    return Wait(
        Why.LIKELY_WORSE,
        f"{name} is worse than its margin with probability {worse[name]:.2f}, which must be below "
        f"{DOUBTFUL_PROBABILITY:.2f}",
    )


def reason(situation: Situation, progress: Progress) -> Why | None:
    """Return why the phase of `progress` is what it is, or what it waits for."""
    match progress.phase:
        case Phase.IDLE:
            return None
        case Phase.INVALID:
            return Why.INVALID
        case Phase.PAUSED:
            return Why.PAUSED
        case Phase.INCONCLUSIVE:
            return Why.DEADLINE
        case Phase.PREPARING | Phase.STEPPING:
            now_there = waiting(replace(situation, before=progress))
            return Why.NO_FRESH_EVIDENCE if now_there is None else now_there.why
        case _:
            return None if progress.outcome is None else _OF_OUTCOMES[progress.outcome]


def _clock(time: datetime) -> str:
    return f"{time.astimezone(UTC):%H:%M:%S} UTC"
