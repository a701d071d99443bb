"""The objects of an experiment, one pure function each: the challenger, the label, the record."""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shieldx.resources.shadowexperiment import (
    API_VERSION,
    CHALLENGER_LABEL,
    EXPERIMENT_LABEL,
    HELD_ANNOTATION,
    KIND,
    RUN_KIND,
    challenger_name,
)

type Manifest = dict[str, Any]

MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "shieldx"}
REVISION_ANNOTATION: Final = "shieldx.io/revision"
# On the record of a run: by it the earlier runs of a revision are found.
REVISION_LABEL: Final = "shieldx.io/revision"
# And by it those of a target, whichever experiment tried them.
TARGET_LABEL: Final = "shieldx.io/target"
# What of `spec.decision` says what happens without a verdict, and not how there is one.
WITHOUT_VERDICT: Final = frozenset({"maxDuration", "onDeadline", "noData", "noDataAfter"})
# A challenger pod counts once it has been ready for this long; restarts begin it anew.
LEAST_READY_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one experiment's parts."""

    namespace: str
    experiment: str
    target: str

    @property
    def challenger(self) -> str:
        return challenger_name(self.target)

    def run(self, revision: str, attempt: int) -> str:
        return f"{self.experiment}-{revision}-{attempt}"


@dataclass(frozen=True, slots=True)
class Template:
    """What of the target makes the challenger."""

    revision: str
    pods: Mapping[str, Any]
    min_ready_seconds: int
    progress_deadline_seconds: int


def challenger(names: Names, uid: str, template: Template, replicas: int) -> Manifest:
    """The new version beside the old one.

    Its pods carry the template's labels, so that the Service selects them, and one label more:
    by that its own selector finds them, and its ReplicaSets hash differently from the target's.
    Neither Deployment takes the other's ReplicaSets, since each has its controller.
    """
    own = {CHALLENGER_LABEL: names.target}
    pods = copy.deepcopy(dict(template.pods))
    metadata = pods.setdefault("metadata", {})
    metadata.pop("creationTimestamp", None)
    metadata["labels"] = {**metadata.get("labels", {}), **own}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": names.namespace,
            "name": names.challenger,
            "labels": {**MANAGED_BY, **own},
            "annotations": {REVISION_ANNOTATION: template.revision},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": names.experiment,
                    "uid": uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": max(template.min_ready_seconds, LEAST_READY_SECONDS),
            "progressDeadlineSeconds": template.progress_deadline_seconds,
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": own},
            "template": pods,
        },
    }


def label(names: Names) -> Manifest:
    """Put the target under the webhook's eyes; applied, it owns this label and nothing else."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": names.namespace,
            "name": names.target,
            "labels": {EXPERIMENT_LABEL: names.experiment},
        },
    }


def resume_patch() -> Manifest:
    """The merge patch that lets a held rollout go on."""
    return {"metadata": {"annotations": {HELD_ANNOTATION: None}}, "spec": {"paused": None}}


def unlabel_patch() -> Manifest:
    """The merge patch that takes a target out of the webhook's sight."""
    return {"metadata": {"labels": {EXPERIMENT_LABEL: None}}}


def run(
    names: Names,
    *,
    champion: str | None,
    revision: str,
    attempt: int,
    attempts: Iterable[tuple[str, int]],
    started_at: datetime,
    configuration: Mapping[str, Any],
) -> Manifest:
    """The record of one revision tried. It has no owner: it outlives the experiment.

    It carries how often each revision was tried, since older records may be removed after it.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": RUN_KIND,
        "metadata": {
            "namespace": names.namespace,
            "name": names.run(revision, attempt),
            "labels": {
                **MANAGED_BY,
                EXPERIMENT_LABEL: names.experiment,
                REVISION_LABEL: revision,
                TARGET_LABEL: names.target,
            },
        },
        "spec": {
            "experiment": names.experiment,
            "target": names.target,
            **({} if champion is None else {"champion": champion}),
            "challenger": revision,
            "attempt": attempt,
            "attempts": [{"revision": tried, "runs": runs} for tried, runs in attempts],
            "startedAt": timestamp(started_at),
            "configuration": dict(configuration),
        },
    }


def timestamp(time: datetime) -> str:
    """Return `time` as Kubernetes writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def configuration_hash(spec: Mapping[str, Any]) -> str:
    """Return the hash of what a run is judged by: a change of it begins another run."""
    decision = {k: value for k, value in spec["decision"].items() if k not in WITHOUT_VERDICT}
    judged = {"metrics": spec["metrics"], "decision": decision}
    return hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()[:10]
