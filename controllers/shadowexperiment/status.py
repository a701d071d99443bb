"""The status of an experiment: its memory, and what people and tools read beside it; pure."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from controllers.shadowexperiment.facts import Observed, Situation
from controllers.shadowexperiment.manifests import Manifest
from controllers.shadowexperiment.phases import MEASURED, Phase
from controllers.shadowexperiment.plan import Plan
from controllers.shadowexperiment.progress import Progress, text_of
from controllers.shadowexperiment.reach import Reached
from controllers.shadowexperiment.reasons import reason
from controllers.shadowexperiment.verdicts import Judgment
from shieldx.resources.conditions import Condition, Truth, merged
from shieldx.signals.states import EvidenceState
from shieldx.traffic.split import actual_weight


class Reason(StrEnum):
    """Why a condition of an experiment holds or does not."""

    WATCHING = "Watching"
    INVALID = "Invalid"
    PAUSED = "Paused"
    ON_TRIAL = "OnTrial"
    SETTLED = "Settled"
    PODS_FAIL = "PodsFail"
    MOVING = "Moving"
    PROMOTED = "Promoted"
    REFUSED = "Refused"
    NOT_PROMOTED = "NotPromoted"
    NOT_REFUSED = "NotRefused"
    EVIDENCE = "Evidence"
    NO_TRIAL = "NoTrial"
    UNDECIDED = "Undecided"
    REACHED = "Reached"
    NOT_REACHED = "NotReached"
    NO_LONGER_REACHED = "NoLongerReached"
    NO_TRAFFIC = "NoTraffic"
    NOT_MEASURED = "NotMeasured"


def status(situation: Situation, todo: Plan) -> Manifest:
    """Return the whole status after a plan; None removes a field."""
    spec, seen, judgment = situation.spec, situation.seen, situation.judgment
    progress = todo.progress
    rendered = progress.render()
    ready = 0 if seen.target is None else seen.target.ready
    actual = actual_weight(ready, seen.challenger_ready)
    rendered["observedGeneration"] = seen.generation
    rendered["step"] |= {"count": len(spec.steps), "actual": actual}
    rendered["summary"] |= {
        "step": f"{progress.step}/{len(spec.steps)}",
        "weight": f"{actual}%",
    }
    measured = progress.phase in MEASURED
    rendered["evidence"] = judgment.state if measured else None
    rendered["until"] = text_of(progress.until(spec.decision.max_duration)) if measured else None
    why = reason(situation, progress)
    rendered["reason"] = None if why is None else str(why)
    rendered["conditions"] = merged(
        _conditions(situation, todo),
        seen.status.get("conditions", []),
        generation=seen.generation,
        now=situation.now,
    )
    return rendered


def changes(status: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    """Whether merging `patch` into the status would change it."""
    for key, value in patch.items():
        there = status.get(key)
        if isinstance(value, dict):
            if changes(there if isinstance(there, dict) else {}, value):
                return True
        elif there != value:
            return True
    return False


def _trouble(situation: Situation, progress: Progress) -> str | None:
    """Return what keeps pods from getting ready, once that takes longer than usual."""
    seen, target = situation.seen, situation.seen.target
    if target is None or progress.since is None:
        return None
    usual = timedelta(seconds=target.template.progress_deadline_seconds) / 2
    if situation.now - progress.since < usual:
        return None
    return target.trouble if progress.phase is Phase.PROMOTING else seen.trouble


def _conditions(situation: Situation, todo: Plan) -> list[Condition]:
    seen, judgment, progress = situation.seen, situation.judgment, todo.progress
    phase, said = progress.phase, progress.decision
    trouble = seen.problem or (_trouble(situation, progress) if todo.moving else None)
    undecided = phase is Phase.INCONCLUSIVE
    return [
        _ready(progress),
        Condition(
            "Reconciling",
            Truth.of(todo.moving),
            Reason.ON_TRIAL if todo.moving else Reason.SETTLED,
            said if todo.moving else "nothing is under way",
        ),
        Condition(
            "Stalled",
            Truth.of(trouble is not None or undecided),
            _obstacle(seen, trouble, undecided=undecided),
            trouble or (said if undecided else "nothing is in the way"),
        ),
        Condition(
            "Progressing",
            Truth.of(todo.moving and trouble is None),
            Reason.ON_TRIAL if todo.moving else Reason.NO_TRIAL,
            said if todo.moving else "no challenger is on trial",
        ),
        Condition(
            "Promoted",
            Truth.of(phase is Phase.PROMOTED),
            Reason.PROMOTED if phase is Phase.PROMOTED else Reason.NOT_PROMOTED,
            said if phase is Phase.PROMOTED else "the last revision was not promoted, or not yet",
        ),
        Condition(
            "RolledBack",
            Truth.of(phase is Phase.ROLLED_BACK),
            Reason.REFUSED if phase is Phase.ROLLED_BACK else Reason.NOT_REFUSED,
            f"{said}; the Deployment stays paused until git asks for another template"
            if phase is Phase.ROLLED_BACK
            else "no revision is refused",
        ),
        _evidence(progress, judgment),
        _reached(progress, judgment),
    ]


def _obstacle(seen: Observed, trouble: str | None, *, undecided: bool) -> Reason:
    if seen.problem:
        return Reason.INVALID
    if trouble:
        return Reason.PODS_FAIL
    return Reason.UNDECIDED if undecided else Reason.MOVING


def _ready(progress: Progress) -> Condition:
    match progress.phase:
        case Phase.INVALID:
            return Condition("Ready", Truth.FALSE, Reason.INVALID, progress.decision)
        case Phase.PAUSED:
            return Condition("Ready", Truth.FALSE, Reason.PAUSED, progress.decision)
        case _:
            return Condition(
                "Ready", Truth.TRUE, Reason.WATCHING, "changes of the pod template are tried"
            )


def _evidence(progress: Progress, judgment: Judgment) -> Condition:
    if progress.phase not in MEASURED:
        return _unmeasured("EvidenceSufficient", progress)
    return Condition(
        "EvidenceSufficient",
        Truth.of(judgment.state == EvidenceState.SUFFICIENT),
        Reason.EVIDENCE,
        judgment.message,
    )


def _unmeasured(kind: str, progress: Progress) -> Condition:
    if progress.phase is Phase.PAUSED and progress.paused_from in MEASURED:
        message = "the experiment is paused; the challenger keeps its pods, and is not measured"
        return Condition(kind, Truth.UNKNOWN, Reason.PAUSED, message)
    return Condition(kind, Truth.UNKNOWN, Reason.NO_TRIAL, "no challenger is measured")


def _reached(progress: Progress, judgment: Judgment) -> Condition:
    """Say whether the challenger gets requests at present.

    No more than that: behind a Service connections are balanced, not requests, so their split
    says nothing about whether traffic is shared as it should be.
    """
    kind, reach = "TrafficVerified", progress.reach
    if progress.phase not in MEASURED:
        return _unmeasured(kind, progress)
    reached = Reached.UNSEEN if judgment.state == EvidenceState.STALE else reach.reached
    none = f"the challenger had no request in the last {reach.silent} buckets"
    match reached:
        case Reached.YES:
            return Condition(kind, Truth.TRUE, Reason.REACHED, "requests reach the challenger")
        case Reached.UNSEEN:
            message = f"what the challenger gets is not known: {judgment.message}"
            return Condition(kind, Truth.UNKNOWN, Reason.NOT_MEASURED, message)
        case Reached.NOBODY:
            message = f"{none}, nor had the champion in all but {reach.alone} of them"
            return Condition(kind, Truth.FALSE, Reason.NO_TRAFFIC, message)
        case Reached.NO:
            why = Reason.NO_LONGER_REACHED if progress.samples else Reason.NOT_REACHED
            message = (
                f"{none}, the champion in {reach.alone} of them: are its pods ready, does the "
                "Service select them, do clients ever open another connection?"
            )
            return Condition(kind, Truth.FALSE, why, message)
