"""The facts that a pass over an experiment rests on, and what it may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any, Final

from controllers.shadowexperiment.manifests import Manifest, Names, Template
from controllers.shadowexperiment.phases import MEASURED, Phase
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.verdicts import Judgment
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.traffic.split import challenger_replicas

# No challenger is on trial.
RESTING: Final = frozenset({Phase.IDLE, Phase.PROMOTED, Phase.ROLLED_BACK})
# A challenger is on trial.
SERVING: Final = MEASURED | {Phase.PREPARING}


@dataclass(frozen=True, slots=True)
class Target:
    """The Deployment under experiment."""

    resource_version: str
    template: Template
    replicas: int
    ready: int
    paused: bool
    held: bool  # whether the pause is the webhook's, not a person's
    labelled: bool
    rolled_out: bool
    serving: str | None  # the revision of the ReplicaSet that has most pods
    trouble: str | None = None

    @property
    def revision(self) -> str:
        return self.template.revision

    @property
    def rolled(self) -> bool:
        """Whether every pod is of the present template, and available."""
        return self.rolled_out and not self.paused


@dataclass(frozen=True, slots=True)
class Challenger:
    """The Deployment of the challenger, as it was last applied."""

    revision: str | None
    replicas: int


@dataclass(frozen=True, slots=True)
class Record:
    """An ExperimentRun of the target, by whatever experiment.

    `attempts`: how many runs of each revision there had been by then, this one included; records
    of some of them may be gone.
    """

    name: str
    started_at: str
    finished: bool
    attempts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Observed:
    """The experiment as it is."""

    generation: int
    uid: str
    resource_version: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    target: Target | None
    problem: str | None = None  # why spec and cluster do not fit, and what to do
    challenger: Challenger | None = None
    challenger_pods: int = 0  # whatever their state
    challenger_ready: int = 0  # ready for long enough to count
    trouble: str | None = None  # what a challenger pod says that keeps it from getting ready
    records: tuple[Record, ...] = ()  # of the target, oldest first, where a run may begin
    run_exists: bool = False
    run_finished: bool = False
    trajectory: Mapping[str, Any] = field(default_factory=dict)  # as the run's record has it

    @property
    def recorded_until(self) -> float:
        """The end of the newest bucket on record, in seconds since 1970."""
        points = self.trajectory.get("points", [])
        return float(points[-1]["end"]) if points else -inf


@dataclass(frozen=True, slots=True)
class LabelTarget:
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class ApplyChallenger:
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class DeleteChallenger:
    pass


@dataclass(frozen=True, slots=True)
class ResumeTarget:
    resource_version: str


@dataclass(frozen=True, slots=True)
class CreateRun:
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class DeleteRun:
    name: str


@dataclass(frozen=True, slots=True)
class RecordEvidence:
    name: str
    trajectory: Manifest


@dataclass(frozen=True, slots=True)
class FinishRun:
    name: str
    status: Manifest


type Action = (
    LabelTarget
    | ApplyChallenger
    | DeleteChallenger
    | ResumeTarget
    | CreateRun
    | DeleteRun
    | RecordEvidence
    | FinishRun
)


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a pass is decided on: what was asked, seen, remembered and measured, and when."""

    names: Names
    spec: ShadowExperimentSpec
    seen: Observed
    before: Progress
    judgment: Judgment
    now: datetime

    def wanted_replicas(self, target: Target, progress: Progress) -> int:
        """Return how many challenger pods the remembered weight asks for."""
        most = self.spec.max_challenger_replicas
        return challenger_replicas(target.replicas, progress.weight, most=most)
