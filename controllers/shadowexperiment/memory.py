"""What a finding changes in what is remembered: the next phase and its fields; pure."""

from dataclasses import replace

from controllers.shadowexperiment.facts import RESTING, SERVING, Situation, Target
from controllers.shadowexperiment.manifests import configuration_hash
from controllers.shadowexperiment.phases import MEASURED, Finding, Phase, following
from controllers.shadowexperiment.progress import Outcome, Progress
from controllers.shadowexperiment.sentences import decision


def advance(situation: Situation, finding: Finding) -> Progress:
    """Return what to remember after a finding."""
    before, judgment = situation.before, situation.judgment
    phase = following(before.phase, finding, before.paused_from)
    progress = before
    if before.phase in MEASURED:
        recorded = situation.seen.recorded_until
        kept = tuple(each for each in before.unrecorded if each["end"] > recorded)
        # Alone it is not worth a write of the status.
        progress = judgment.noted(replace(before, unrecorded=kept) if judgment.points else before)
    progress = replace(progress, phase=phase)
    if phase is not before.phase:
        progress = replace(progress, since=situation.now)
    progress = _remember(situation, finding, progress)
    return replace(progress, decision=decision(situation, finding, progress))


def _remember(  # noqa: C901, PLR0911, PLR0912 - one case a finding: a table with conditions.
    situation: Situation, finding: Finding, progress: Progress
) -> Progress:
    spec, judgment, now = situation.spec, situation.judgment, situation.now
    came, target, settled = situation.before.phase, situation.seen.target, now + spec.settle
    match finding:
        case Finding.STEADY:
            return progress
        case Finding.FAULTY:
            undecided = came in SERVING or progress.paused_from in SERVING
            outcome = Outcome.WITHDRAWN if undecided else progress.outcome
            return replace(progress, outcome=outcome, paused_from=None, weight=0)
        case Finding.SOUND if target is not None:
            first = (target.serving if target.held else None) or target.revision
            known = replace(progress.without_evidence(), challenger=None, outcome=None, run=None)
            return replace(known, champion=progress.champion or first)
        case Finding.HELD:
            return replace(progress, paused_from=came)
        case Finding.CONTINUED:
            return replace(_resumed(situation, progress), paused_from=None, since=now)
        case Finding.CHANGED if came in RESTING and target is not None:
            begun = _tried(situation, progress, target)
            return replace(begun, step=1, weight=spec.steps[0].weight)
        case Finding.PASSED if came in RESTING and target is not None:
            return replace(_tried(situation, progress, target), outcome=Outcome.PASSED)
        case Finding.PASSED:
            return replace(progress, outcome=Outcome.PASSED)
        case Finding.CHANGED | Finding.REVERTED if came in SERVING:
            return replace(progress, outcome=Outcome.WITHDRAWN, weight=0)
        case Finding.REVERTED:
            return replace(progress.without_evidence(), run=None)
        case Finding.READY:
            reached = replace(progress, reached_at=now, evidence_from=settled)
            if came is Phase.PREPARING:
                return replace(
                    reached,
                    served_since=now,
                    engine=judgment.beginning,
                    base_rates=judgment.base_rates,
                )
            return reached
        case Finding.FRESH_AND_FINE:
            step = min(progress.step + 1, len(spec.steps))
            return replace(
                progress,
                step=step,
                weight=spec.steps[step - 1].weight,
                since=now,
                reached_at=None,
                evidence_from=settled,
            )
        case Finding.STUCK:
            return replace(progress, outcome=Outcome.FAILED, weight=0)
        case Finding.HARMFUL:
            return replace(progress, outcome=Outcome.ROLLED_BACK, weight=0)
        case Finding.OVERDUE:
            return replace(progress, outcome=Outcome.INCONCLUSIVE, weight=0)
        case Finding.BLIND:
            return replace(progress, outcome=Outcome.NO_DATA, weight=0)
        case Finding.UNDECIDED | Finding.EXTENDED:
            return progress
        case Finding.PROVEN:
            return replace(progress, outcome=Outcome.PROMOTED)
        case Finding.DONE if came is Phase.PROMOTING:
            return replace(progress, champion=progress.challenger, weight=0, step=0, unrecorded=())
        case Finding.DONE:
            return replace(progress, weight=0, step=0, unrecorded=())
        case Finding.WITHDRAWN:
            return replace(progress.without_evidence(), run=None)
        case _:
            raise AssertionError(f"{finding.name} in {came}")


def _resumed(situation: Situation, progress: Progress) -> Progress:
    """Go on after a pause, in which nothing was measured and no time for a verdict went by."""
    before, now = situation.before, situation.now
    if before.served_since is None or before.evidence_from is None or before.since is None:
        return progress
    return replace(
        progress,
        reached_at=None if progress.reached_at is None else now,
        evidence_from=max(now, before.evidence_from),
        paused_for=before.paused_for + (now - before.since),
    )


def _tried(situation: Situation, progress: Progress, target: Target) -> Progress:
    """Begin a run: every earlier one of this revision counts, whoever remembers it."""
    known = progress.knowing(each.attempts for each in situation.seen.records)
    attempt = known.runs_of(target.revision)
    return known.tried(
        target.revision,
        attempt=attempt,
        configuration=configuration_hash(situation.seen.spec),
        run=situation.names.run(target.revision, attempt),
        now=situation.now,
    )
