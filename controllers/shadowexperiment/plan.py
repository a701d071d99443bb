"""What to do about an experiment: a pure function of what was asked, seen and measured.

One look amounts to one finding (`findings`), a finding changes what is remembered (`memory`), and
what is remembered says what must be true in the cluster (`realise`). The memory is written first,
with the resourceVersion it was decided on; each action after it can be repeated. So an operator
that is killed after any write goes on where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from controllers.shadowexperiment import manifests
from controllers.shadowexperiment.facts import (
    Action,
    ApplyChallenger,
    Challenger,
    CreateRun,
    DeleteChallenger,
    DeleteRun,
    FinishRun,
    LabelTarget,
    Observed,
    RecordEvidence,
    ResumeTarget,
    Situation,
    Target,
)
from controllers.shadowexperiment.findings import find
from controllers.shadowexperiment.manifests import Names
from controllers.shadowexperiment.memory import advance
from controllers.shadowexperiment.phases import Finding, Phase
from controllers.shadowexperiment.progress import Outcome, Progress, recorded

SOON: Final = timedelta(seconds=2)
LATER: Final = timedelta(minutes=1)
# The whole record is written each time, so not for every bucket.
RECORDED_AT_ONCE: Final = 10
# Nobody has to do anything for these to end.
MOVING: Final = frozenset(
    {Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING, Phase.ROLLING_BACK},
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to remember, then what to do; without a finding nothing is remembered yet."""

    finding: Finding | None
    progress: Progress
    actions: tuple[Action, ...]
    check_again: timedelta

    @property
    def moving(self) -> bool:
        return self.progress.phase in MOVING


def plan(situation: Situation) -> Plan:
    """Decide one pass over an experiment."""
    seen, before = situation.seen, situation.before
    labelled = seen.target is not None and seen.target.labelled
    if before.phase is Phase.INVALID and seen.problem is None and not labelled:
        # Not Idle before the webhook sees the target: what changes until then is the champion.
        label = LabelTarget(manifests.label(situation.names))
        return Plan(None, before, (label,), SOON)
    finding = find(situation)
    after = advance(situation, finding)
    actions = tuple(realise(situation, after))
    todo = Plan(finding, after, actions, LATER)
    moves = after.phase is not before.phase or bool(actions)
    return replace(todo, check_again=SOON) if moves or todo.moving else todo


def realise(situation: Situation, progress: Progress) -> Iterator[Action]:
    """Yield what makes the cluster agree with what is remembered; nothing where it does."""
    names, seen = situation.names, situation.seen
    target = seen.target
    if target is not None and seen.problem is None and not target.labelled:
        yield LabelTarget(manifests.label(names))
    match progress.phase:
        case Phase.PREPARING | Phase.STEPPING | Phase.INCONCLUSIVE if target is not None:
            yield from _record(names, seen, progress)
            yield from _forget(situation)
            yield from _record_evidence(seen, progress)
            yield from _serve(situation, target, progress)
        case Phase.PROMOTING if target is not None:
            yield from _record(names, seen, progress)
            yield from _forget(situation)
            if target.revision != progress.challenger or target.rolled:
                yield from _end(names, seen, progress)
            elif target.paused:
                yield ResumeTarget(target.resource_version)
        case Phase.ROLLING_BACK | Phase.INVALID:
            yield from _end(names, seen, progress)
        case Phase.IDLE | Phase.PROMOTED if (
            target is not None and target.held and target.revision == progress.champion
        ):
            yield ResumeTarget(target.resource_version)
        case _:
            return


def _serve(situation: Situation, target: Target, progress: Progress) -> Iterator[Action]:
    if target.revision != progress.challenger:
        return  # Changed since: the next look says so, and this template is not the challenger's.
    names, seen = situation.names, situation.seen
    wanted = Challenger(target.revision, situation.wanted_replicas(target, progress))
    if seen.challenger != wanted:
        manifest = manifests.challenger(names, seen.uid, target.template, wanted.replicas)
        yield ApplyChallenger(manifest)


def _record(names: Names, seen: Observed, progress: Progress) -> Iterator[Action]:
    if seen.run_exists or progress.challenger is None or progress.since is None:
        return
    yield CreateRun(
        manifests.run(
            names,
            champion=progress.champion,
            revision=progress.challenger,
            attempt=progress.attempt,
            attempts=progress.attempts,
            started_at=progress.since,
            configuration=seen.spec,
        )
    )


def _forget(situation: Situation) -> Iterator[Action]:
    """Remove the oldest records, now that there is another which knows of all attempts."""
    records = situation.seen.records
    superfluous = len(records) + 1 - situation.spec.run_history_limit
    finished = [record for record in records if record.finished]
    yield from (DeleteRun(record.name) for record in finished[: max(superfluous, 0)])


def _record_evidence(seen: Observed, progress: Progress) -> Iterator[Action]:
    """Move buckets from the status, where they were noted with their verdict, to the record."""
    fresh = [each for each in progress.unrecorded if each["end"] > seen.recorded_until]
    if progress.run is None or not seen.run_exists or len(fresh) < RECORDED_AT_ONCE:
        return
    yield RecordEvidence(progress.run, recorded(seen.trajectory, progress))


def _end(names: Names, seen: Observed, progress: Progress) -> Iterator[Action]:
    """Take the challenger away, and close its record once it is gone."""
    if seen.challenger is not None:
        yield DeleteChallenger()
    elif progress.run is not None and not seen.run_exists:
        yield from _record(names, seen, progress)
    elif progress.run is not None and not seen.run_finished and not seen.challenger_pods:
        yield FinishRun(
            progress.run,
            {
                "outcome": str(progress.outcome or Outcome.WITHDRAWN),
                "decision": progress.decision,
                "finishedAt": manifests.timestamp(progress.since) if progress.since else None,
                "metrics": list(progress.metrics),
                "engine": progress.engine,
                "trajectory": recorded(seen.trajectory, progress),
            },
        )
