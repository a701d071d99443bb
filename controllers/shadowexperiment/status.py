"""The status of an experiment: its memory, and what people and tools read beside it; pure."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from controllers.shadowexperiment.facts import Situation
from controllers.shadowexperiment.manifests import Manifest
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.plan import Plan
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.verdicts import Judgment
from shieldx.resources.conditions import Condition, Truth, merged
from shieldx.traffic.split import actual_weight

SUFFICIENT: Final = "Sufficient"


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
    rendered["evidence"] = judgment.state if progress.phase is Phase.STEPPING else None
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
            Truth.of(trouble is not None),
            (Reason.INVALID if seen.problem else Reason.PODS_FAIL) if trouble else Reason.MOVING,
            trouble or "nothing is in the way",
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
        _evidence(phase, judgment),
    ]


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


def _evidence(phase: Phase, judgment: Judgment) -> Condition:
    if phase is not Phase.STEPPING:
        return Condition(
            "EvidenceSufficient", Truth.UNKNOWN, Reason.NO_TRIAL, "no challenger has traffic"
        )
    return Condition(
        "EvidenceSufficient",
        Truth.of(judgment.state == SUFFICIENT),
        Reason.EVIDENCE,
        judgment.message,
    )
