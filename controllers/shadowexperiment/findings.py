"""What one look at an experiment amounts to: everything seen, reduced to one finding; pure."""

from datetime import timedelta

from controllers.shadowexperiment.facts import RESTING, Observed, Situation, Target
from controllers.shadowexperiment.manifests import configuration_hash
from controllers.shadowexperiment.phases import Finding, Phase
from controllers.shadowexperiment.progress import REFUSED, Progress
from controllers.shadowexperiment.reasons import waiting
from shieldx.resources.shadowexperiment import NoData, OnDeadline


def find(situation: Situation) -> Finding:  # noqa: PLR0911 - one return a phase.
    """Return what this look amounts to."""
    seen, before = situation.seen, situation.before
    target, phase = seen.target, before.phase
    if target is None or seen.problem is not None:
        return Finding.FAULTY
    if phase is Phase.INVALID:
        if not _over(seen, before):
            return Finding.STEADY
        return Finding.DONE if _refused(target, before) else Finding.SOUND
    if phase is Phase.PAUSED:
        return Finding.STEADY if situation.spec.paused else Finding.CONTINUED
    if phase is Phase.PROMOTING:
        return _find_promoting(target, seen, before)
    if phase is Phase.ROLLING_BACK:
        return _find_rolling_back(target, seen, before)
    if situation.spec.paused:
        return Finding.HELD
    if phase in RESTING:
        return _find_resting(target, before)
    return _find_serving(situation, target)


def _find_resting(target: Target, before: Progress) -> Finding:
    if target.revision == before.champion:
        return Finding.REVERTED if before.phase is Phase.ROLLED_BACK else Finding.STEADY
    if not target.paused:
        return Finding.PASSED
    refused = before.phase is Phase.ROLLED_BACK and target.revision == before.challenger
    return Finding.STEADY if refused else Finding.CHANGED


def _find_serving(  # noqa: PLR0911 - one return a finding.
    situation: Situation, target: Target
) -> Finding:
    seen, before = situation.seen, situation.before
    if target.revision == before.champion:
        return Finding.REVERTED
    judged_by = configuration_hash(seen.spec)
    if target.revision != before.challenger or judged_by != before.configuration:
        return Finding.CHANGED
    if not target.paused or target.replicas == 0:
        return Finding.PASSED
    if before.phase is Phase.PREPARING:
        return _find_starting(situation, target)
    if situation.judgment.harmful:
        return Finding.HARMFUL
    if before.phase is Phase.INCONCLUSIVE:
        return _find_without_verdict(situation) or Finding.STEADY
    starting = before.reached_at is None
    found = _find_starting(situation, target) if starting else _find_measured(situation)
    if found in {Finding.PROVEN, Finding.STUCK}:
        return found
    return _find_without_verdict(situation) or found


def _find_starting(situation: Situation, target: Target) -> Finding:
    seen, before = situation.seen, situation.before
    current = seen.challenger is not None and seen.challenger.revision == before.challenger
    if current and seen.challenger_ready >= situation.wanted_replicas(target, before):
        return Finding.READY
    deadline = timedelta(seconds=target.template.progress_deadline_seconds)
    late = before.since is not None and situation.now - before.since > deadline
    return Finding.STUCK if late else Finding.STEADY


def _find_measured(situation: Situation) -> Finding:
    """Find whether the weight may rise, or the challenger be promoted: on fresh evidence only."""
    if waiting(situation) is not None:
        return Finding.STEADY
    last = situation.before.step >= len(situation.spec.steps)
    return Finding.PROVEN if last else Finding.FRESH_AND_FINE


def _find_without_verdict(situation: Situation) -> Finding | None:
    """Find that there is no verdict in time, or nothing to come to one by."""
    decision, before, judgment = situation.spec.decision, situation.before, situation.judgment
    if decision.no_data is NoData.ROLLBACK and judgment.blind_since is not None:
        blind_for = situation.now - judgment.blind_since
        if blind_for > decision.no_data_after:
            return Finding.BLIND
    until = before.until(decision.max_duration)
    held = before.phase is Phase.INCONCLUSIVE
    if until is None or situation.now < until:
        return Finding.EXTENDED if held else None
    if decision.on_deadline is OnDeadline.ROLLBACK:
        return Finding.OVERDUE
    return Finding.STEADY if held else Finding.UNDECIDED


def _find_promoting(target: Target, seen: Observed, before: Progress) -> Finding:
    superseded = target.revision != before.challenger
    ended = _over(seen, before) and (superseded or target.rolled)
    return Finding.DONE if ended else Finding.STEADY


def _find_rolling_back(target: Target, seen: Observed, before: Progress) -> Finding:
    if not _over(seen, before):
        return Finding.STEADY
    return Finding.DONE if _refused(target, before) else Finding.WITHDRAWN


def _over(seen: Observed, progress: Progress) -> bool:
    gone = seen.challenger is None and not seen.challenger_pods
    return gone and (progress.run is None or seen.run_finished)


def _refused(target: Target, progress: Progress) -> bool:
    asked_for = target.paused and target.revision == progress.challenger
    return asked_for and progress.outcome in REFUSED
