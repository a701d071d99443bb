"""The format of a recorded trial: an experiment, and what was counted, bucket by bucket.

JSON; docs/how-to/ask-about-an-experiment.md describes it to people. Counts are by pod, since the
scatter between the pods of one version is part of the evidence; whoever has sums gives one pod.
An ExperimentRun is a recording, too: of sums, each with the dispersion it was weighed with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from shieldx.cli.experiment_file import Experiment, ExperimentFileError, experiment_of
from shieldx.judgement.trajectory import Point, Trajectory
from shieldx.resources.shadowexperiment import API_VERSION, KIND, RUN_KIND
from shieldx.signals.buckets import Bucket, MetricBucket
from shieldx.signals.states import EvidenceReason, EvidenceState
from shieldx.stats import RESTARTS, Dispersion

_HOW_TO_RECORD: Final = (
    f"an {RUN_KIND} (kubectl get {RUN_KIND.lower()} NAME -o json), or JSON with buckets and "
    "--experiment FILE"
)

type Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
type Time = Annotated[float, msgspec.Meta(ge=0, le=253402300799)]  # until the year 9999
type Pods = dict[str, tuple[Count, Count]]


class RecordedMetric(msgspec.Struct, forbid_unknown_fields=True):
    """By pod: requests, and how many of them were bad."""

    champion: Pods
    challenger: Pods


class Restarts(msgspec.Struct, forbid_unknown_fields=True):
    """Of each version: pods, and how many of them restarted."""

    champion: tuple[Count, Count]
    challenger: tuple[Count, Count]


class RecordedBucket(msgspec.Struct, forbid_unknown_fields=True):
    """One closed window; `end` in seconds since 1970. A metric that is absent was not counted."""

    end: Time
    metrics: dict[str, RecordedMetric]
    restarts: Restarts | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The whole file."""

    buckets: list[RecordedBucket]
    experiment: dict[str, Any] | None = None
    base_rates: dict[str, float] = {}


class RecordingError(Exception):
    """The file is no recording; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was asked, and what was counted."""

    experiment: Experiment
    base_rates: Mapping[str, float]
    buckets: tuple[Bucket, ...]
    points: tuple[Point, ...] = ()  # of an operator's record: what it weighed, bucket by bucket
    attempt: int = 0
    since: float | None = None  # when the challenger was first served, if not with the first bucket
    dispersions: Mapping[str, Dispersion] = field(default_factory=dict)  # of the past before it
    thinned: str | None = None  # what of the record is coarser than what was counted


def read_recording(file: Path, experiment: Experiment | None) -> Recording:
    """Return a recording; `experiment`, where given, takes the place of the recorded one."""
    document = _read(file)
    if isinstance(document, Mapping):
        return of_run(document, experiment)
    if experiment is None:
        if document.experiment is None:
            raise RecordingError(f"{file} has no experiment: say which with --experiment FILE")
        try:
            experiment = experiment_of(document.experiment, f"{file}, experiment")
        except ExperimentFileError as error:
            raise RecordingError(str(error)) from error
    _check_order(file, document)
    assumed = {each.name: each.base_rate for each in experiment.spec.guardrails}
    length = experiment.spec.decision.bucket.total_seconds()
    return Recording(
        experiment,
        document.base_rates or assumed,
        tuple(_bucket(each, length) for each in document.buckets),
    )


def _read(file: Path) -> Mapping[str, Any] | Document:
    """Return what a file holds: an ExperimentRun as it lies in a cluster, or a recording."""
    try:
        text = file.read_bytes()
        live = msgspec.json.decode(text)
        kind = live.get("kind") if isinstance(live, dict) else None
        if kind == RUN_KIND:
            return dict(live)
        if kind is not None:
            raise RecordingError(f"{file} is of kind {kind}; what is replayed: {_HOW_TO_RECORD}")
        return msgspec.json.decode(text, type=Document)
    except OSError as error:
        raise RecordingError(f"{file} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordingError(f"{file}: {error}; what is replayed: {_HOW_TO_RECORD}") from error


def _check_order(file: Path, document: Document) -> None:
    ends = [bucket.end for bucket in document.buckets]
    if not ends:
        raise RecordingError(f"{file} has no bucket, so there is nothing to replay")
    for at, (early, late) in enumerate(pairwise(ends), start=1):
        if late <= early:
            raise RecordingError(
                f"{file}: buckets[{at}] ends at {late:.0f}, and the one before it at {early:.0f}: "
                "put them in the order of their ends"
            )


def of_run(live: Mapping[str, Any], experiment: Experiment | None) -> Recording:
    """Return what an ExperimentRun tells of its run; RecordingError where it tells nothing."""
    name = live.get("metadata", {}).get("name", "unnamed")
    if "trajectory" not in live.get("status", {}):
        raise RecordingError(f"no bucket was recorded in run {name}, so there is nothing to replay")
    try:
        spec, trajectory = live["spec"], Trajectory.parse(live["status"]["trajectory"])
        asked = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": spec["experiment"]},
            "spec": spec["configuration"],
        }
        attempt = int(spec["attempt"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"{RUN_KIND} {name} holds no trajectory that can be read ({error!r}); read it with: "
            f"kubectl get {RUN_KIND.lower()} {name} -o json"
        ) from error
    if not trajectory.points:
        raise RecordingError(f"no bucket counted in run {name}, so there is nothing to replay")
    try:
        recorded = experiment or experiment_of(asked, f"{RUN_KIND} {name}, spec.configuration")
    except ExperimentFileError as error:
        raise RecordingError(str(error)) from error
    length = recorded.spec.decision.bucket.total_seconds()
    return Recording(
        recorded,
        trajectory.base_rates,
        tuple(_counted(point, length) for point in trajectory.points),
        trajectory.points,
        attempt,
        trajectory.since,
        thinned=trajectory.thinned,
    )


def _counted(point: Point, length: float) -> Bucket:
    """Return the bucket of a point, of which only the sums are known."""
    n_a, x_a, n_b, x_b = point.counts.get(RESTARTS.name, (0.0, 0.0, 0.0, 0.0))
    sums = {name: row for name, row in point.counts.items() if name != RESTARTS.name}
    return Bucket(
        point.end - point.buckets * length,
        point.end,
        {name: _sums((n, bad), (m, worse)) for name, (n, bad, m, worse, _) in sums.items()},
        (int(n_a), int(x_a), int(n_b), int(x_b)),
    )


def _bucket(recorded: RecordedBucket, length: float) -> Bucket:
    restarts = recorded.restarts
    return Bucket(
        recorded.end - length,
        recorded.end,
        {name: _metric(each) for name, each in recorded.metrics.items()},
        (0, 0, 0, 0) if restarts is None else (*restarts.champion, *restarts.challenger),
    )


def _metric(recorded: RecordedMetric) -> MetricBucket:
    if any(
        bad > n for pods in (recorded.champion, recorded.challenger) for n, bad in pods.values()
    ):
        raise RecordingError("a pod counted more bad requests than requests: [requests, bad]")
    metric = _sums(_sum(recorded.champion), _sum(recorded.challenger))
    return replace(metric, champion=recorded.champion, challenger=recorded.challenger)


def _sums(champion: tuple[float, float], challenger: tuple[float, float]) -> MetricBucket:
    both = champion[0] > 0 and challenger[0] > 0
    return MetricBucket(
        {},
        {},
        (*champion, *challenger) if both else None,
        EvidenceState.SUFFICIENT if both else EvidenceState.INSUFFICIENT,
        EvidenceReason.COUNTED if both else EvidenceReason.NO_TRAFFIC,
        "recorded",
    )


def _sum(pods: Pods) -> tuple[float, float]:
    return sum(n for n, _ in pods.values()), sum(bad for _, bad in pods.values())
