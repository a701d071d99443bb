"""`status.decision`: what was decided, or is being waited for, in one sentence with the numbers."""

import math
from dataclasses import replace

from controllers.shadowexperiment.facts import Observed, Situation
from controllers.shadowexperiment.phases import Finding, Phase
from controllers.shadowexperiment.progress import Outcome, Progress
from controllers.shadowexperiment.reasons import waiting
from controllers.shadowexperiment.shown import e_value
from controllers.shadowexperiment.verdicts import Judgment
from shieldx.resources.durations import format_duration
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.stats import MetricReport, Report


def decision(  # noqa: C901, PLR0911, PLR0912 - one case a finding: a table with conditions.
    situation: Situation, finding: Finding, progress: Progress
) -> str:
    """Return the sentence for `progress`, which a finding has just led to."""
    spec, seen, judgment = situation.spec, situation.seen, situation.judgment
    match finding:
        case Finding.STEADY:
            return _steady(situation, progress)
        case Finding.FAULTY:
            return seen.problem or "the target is not there"
        case Finding.SOUND:
            return f"Revision {progress.champion} is the champion; the next change is tried"
        case Finding.HELD:
            return "Paused by spec.paused: weights stay and nothing is decided until it is false"
        case Finding.REVERTED if progress.phase is Phase.IDLE:
            return f"Git went back to the champion, revision {progress.champion}"
        case Finding.CHANGED | Finding.REVERTED if progress.phase is Phase.ROLLING_BACK:
            return _withdrawn(seen, progress)
        case Finding.PASSED:
            return _passed(seen, progress)
        case Finding.STUCK:
            why = f": {seen.trouble}" if seen.trouble else ""
            deadline = seen.target.template.progress_deadline_seconds if seen.target else 0
            return (
                f"Failed: revision {progress.challenger} had no ready challenger within the "
                f"target's progressDeadlineSeconds of {deadline}{why}"
            )
        case Finding.HARMFUL if judgment.report is not None:
            return _rolled_back(spec, progress, judgment.report)
        case Finding.UNDECIDED:
            return _undecided(spec, progress, judgment)
        case Finding.OVERDUE:
            return f"Rolled back without a verdict: {_at_the_end(spec, progress, judgment)}"
        case Finding.BLIND:
            after = format_duration(spec.decision.no_data_after)
            return (
                f"Rolled back without a verdict: for more than noDataAfter of {after} nothing "
                f"could be counted, {judgment.message}"
            )
        case Finding.PROVEN if judgment.report is not None:
            return _promoted(spec, progress, judgment.report)
        case Finding.DONE:
            return progress.decision
        case Finding.WITHDRAWN:
            return f"{progress.decision}; revision {progress.champion} goes on as the champion"
        case _:
            return _steady(situation, progress)


def _steady(situation: Situation, progress: Progress) -> str:
    seen = situation.seen
    match progress.phase:
        case Phase.PREPARING:
            why = f": {seen.trouble}" if seen.trouble else ""
            return (
                f"Preparing revision {progress.challenger}: "
                f"{seen.challenger_ready} challenger pods have been ready for long enough{why}"
            )
        case Phase.STEPPING:
            return _stepping(situation, progress)
        case _:
            return progress.decision


def _stepping(situation: Situation, progress: Progress) -> str:
    spec, seen, judgment = situation.spec, situation.seen, situation.judgment
    where = f"Step {progress.step} of {len(spec.steps)} at {progress.weight}%"
    if progress.reached_at is None:
        why = f": {seen.trouble}" if seen.trouble else ""
        return f"{where}: waiting for its pods, {seen.challenger_ready} are ready{why}"
    wait = waiting(replace(situation, before=progress))
    stays = "" if wait is None else f"; waits: {wait.message}"
    if judgment.report is None or not judgment.report.buckets:
        return f"{where}: no evidence yet, {judgment.message}{stays}"
    return f"{where}: {_numbers(spec, progress, judgment.report)}{stays}"


def _numbers(spec: ShadowExperimentSpec, progress: Progress, report: Report) -> str:
    name, metric = _decisive(report)
    return (
        f"{name} {_counts(metric)}; evidence of harm {e_value(report.log_e_rollback)} of "
        f"{2**progress.attempt / spec.decision.rollback_risk:.0f}, of safety "
        f"{e_value(metric.log_e_noninferiority)} of "
        f"{2**progress.attempt / spec.decision.promotion_risk:.0f}"
    )


def _at_the_end(spec: ShadowExperimentSpec, progress: Progress, judgment: Judgment) -> str:
    longest = format_duration(spec.decision.max_duration)
    if judgment.report is None or not judgment.report.buckets:
        return f"maxDuration of {longest} is over and nothing was counted, {judgment.message}"
    return f"maxDuration of {longest} is over: {_numbers(spec, progress, judgment.report)}"


def _undecided(spec: ShadowExperimentSpec, progress: Progress, judgment: Judgment) -> str:
    return (
        f"Undecided: {_at_the_end(spec, progress, judgment)}. The weight stays and harm is still "
        "rolled back; raise spec.decision.maxDuration to go on, change the template to withdraw "
        "it, or resume the Deployment to let it pass"
    )


def _rolled_back(spec: ShadowExperimentSpec, progress: Progress, report: Report) -> str:
    name = report.blame or next(iter(report.metrics))
    needed = 2**progress.attempt / spec.decision.rollback_risk
    return (
        f"Rolled back: {name} got worse than tolerated: {_counts(report.metrics[name])}; "
        f"evidence of harm {e_value(report.log_e_rollback)}, needed {needed:.0f}"
    )


def _promoted(spec: ShadowExperimentSpec, progress: Progress, report: Report) -> str:
    name, metric = _decisive(report)
    needed = 2**progress.attempt / spec.decision.promotion_risk
    return (
        f"Promoted: no guardrail is worse than its margin: {name} {_counts(metric)}; "
        f"evidence of safety {e_value(metric.log_e_noninferiority)}, needed {needed:.0f}, "
        f"probability of worse {metric.probability_worse_than_margin:.3f}"
    )


def _decisive(report: Report) -> tuple[str, MetricReport]:
    """Return the guardrail that still has the least evidence of safety."""
    guardrails = {name: metric for name, metric in report.metrics.items() if not metric.harm_only}
    return min(guardrails.items(), key=lambda each: each[1].log_e_noninferiority)


def _counts(metric: MetricReport) -> str:
    return (
        f"{_share(metric.challenger_bad, metric.challenger_total)} of "
        f"{metric.challenger_total:.0f} of the challenger, "
        f"{_share(metric.champion_bad, metric.champion_total)} of "
        f"{metric.champion_total:.0f} of the champion"
    )


def _share(bad: float, total: float) -> str:
    return "nothing" if math.isclose(total, 0.0) else f"{100 * bad / total:.2f}%"


def _withdrawn(seen: Observed, progress: Progress) -> str:
    revision = seen.target.revision if seen.target else None
    if revision == progress.champion:
        return f"Withdrawn: git went back from revision {progress.challenger} to the champion"
    if revision != progress.challenger:
        return f"Withdrawn: revision {revision} takes the place of {progress.challenger}"
    return "Withdrawn: the metrics or the decision in the spec changed, so evidence begins anew"


def _passed(seen: Observed, progress: Progress) -> str:
    if seen.target is not None and seen.target.replicas == 0:
        why = "the champion has no pods"
    elif progress.outcome is Outcome.PASSED and progress.served_since is None:
        why = "the champion was not available, so there was nothing to compare with or to protect"
    else:
        why = "the rollout was resumed by hand"
    return f"Passed without a verdict: revision {progress.challenger} rolls out, since {why}"
