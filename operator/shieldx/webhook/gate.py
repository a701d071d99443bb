"""Whether a changed Deployment under experiment rolls out now, or is held for its trial; pure.

The API server asks only about Deployments with the experiment's label whose pod template changes.
The answer is a JSON patch on the very request: the rollout is paused before it can begin, and the
Deployment's spec is what git says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from shieldx.resources.shadowexperiment import EXPERIMENT_LABEL, HELD_ANNOTATION, revision

type Patch = list[dict[str, Any]]


class Answer(StrEnum):
    """What the gate does with a change, and why."""

    HELD = "Held"  # the template changed: its trial decides
    RESTART = "Restart"  # the same revision, only started anew
    NOT_UNDER_EXPERIMENT = "NotUnderExperiment"
    CHAMPION_DOWN = "ChampionDown"  # nothing to compare with, and nothing to protect
    HELD_BEFORE = "HeldBefore"  # by a person; theirs to resume


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer, and what it changes in the request."""

    answer: Answer
    patch: Patch


def rule(old: Mapping[str, Any], new: Mapping[str, Any]) -> Ruling:
    """Rule on the update of a Deployment from `old` to `new`."""
    experiment = _map(new, "labels").get(EXPERIMENT_LABEL)
    if experiment is None:
        return Ruling(Answer.NOT_UNDER_EXPERIMENT, [])
    if revision(old["spec"]["template"]) == revision(new["spec"]["template"]):
        return Ruling(Answer.RESTART, [])
    held = HELD_ANNOTATION in _map(new, "annotations")
    if available(old):
        return Ruling(Answer.HELD, _hold(new, experiment))
    if new["spec"].get("paused", False) and not held:
        return Ruling(Answer.HELD_BEFORE, [])
    return Ruling(Answer.CHAMPION_DOWN, _let_go(new) if held else [])


def available(deployment: Mapping[str, Any]) -> bool:
    """Whether a Deployment has ready pods, and as many as it promises."""
    status = deployment.get("status", {})
    conditions = status.get("conditions") or []
    unavailable = any(
        each["type"] == "Available" and each["status"] == "False" for each in conditions
    )
    return status.get("readyReplicas", 0) > 0 and not unavailable


_HELD_POINTER: Final = "/metadata/annotations/" + HELD_ANNOTATION.replace("/", "~1")


def _hold(new: Mapping[str, Any], experiment: str) -> Patch:
    patch: Patch = [{"op": "add", "path": "/spec/paused", "value": True}]
    if not _map(new, "annotations"):
        patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    patch.append({"op": "add", "path": _HELD_POINTER, "value": experiment})
    return patch


def _let_go(new: Mapping[str, Any]) -> Patch:
    patch: Patch = [{"op": "remove", "path": _HELD_POINTER}]
    if "paused" in new["spec"]:
        patch.append({"op": "remove", "path": "/spec/paused"})
    return patch


def _map(live: Mapping[str, Any], name: str) -> Mapping[str, str]:
    return live["metadata"].get(name) or {}
