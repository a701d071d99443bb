"""`shieldx replay`: what the rule would have done on what was recorded, bucket by bucket.

The weights are those of history, so steps and warm-ups decide nothing here: each bucket gets the
verdict that the operator would have had at its end.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp
from pathlib import Path
from typing import Any, Final

from shieldx.cli.experiment_file import Experiment, ExperimentFileError, read_experiment
from shieldx.cli.output import Format, Page, percent, write
from shieldx.cli.past import Range, read_past
from shieldx.cli.plot import plot
from shieldx.cli.recording import Recording, RecordingError, of_run, read_recording
from shieldx.judgement.engine import Engine, answerable
from shieldx.kube import Cluster, KubeError, Manifest, current_namespace
from shieldx.resources.shadowexperiment import API_VERSION, RUN_KIND
from shieldx.signals.buckets import Bucket
from shieldx.stats import MetricReport, Report, Verdict, risk_of_attempt

DONE: Final = 0
MISTAKEN: Final = 2

_LARGEST: Final = 600.0  # of a logarithm that is still shown as a number


@dataclass(frozen=True, slots=True)
class Moment:
    """Where things stood at the end of a bucket."""

    bucket: Bucket
    report: Report
    long_enough: bool  # whether minDuration was over

    @property
    def verdict(self) -> str:
        if self.report.verdict is Verdict.PROMOTE and not self.long_enough:
            return "promote later"
        return str(self.report.verdict)


@dataclass(frozen=True, slots=True)
class Replay:
    """A recording, and what the rule says of it."""

    recording: Recording
    moments: Sequence[Moment]
    needed: tuple[float, float]  # e-values, for a roll-back and for a promotion

    def first(self, verdict: Verdict) -> Moment | None:
        """Return when that verdict was first there to be acted on."""
        return next((each for each in self.moments if each.verdict == verdict), None)


@dataclass(frozen=True, slots=True)
class Past:
    """What is to be replayed: a file, an ExperimentRun in a cluster, or a range of a Prometheus."""

    file: Path | None = None
    run: str | None = None
    namespace: str | None = None
    range: Range | None = None


def replay(past: Past, experiment: Path | None, picture: Path | None, form: Format) -> int:
    """Replay a recording, write what came out, and return the exit code."""
    try:
        other = None if experiment is None else read_experiment(experiment)
        replayed = run(_recording(past, other))
        if picture is not None:
            picture.write_text(plot(_lines(replayed), replayed.needed))
    except (ExperimentFileError, RecordingError, KubeError, ValueError) as mistake:
        sys.stderr.write(f"shieldx replay: {mistake}\n")
        return MISTAKEN
    except OSError as error:
        sys.stderr.write(f"shieldx replay: {picture} cannot be written: {error.strerror}\n")
        return MISTAKEN
    write(values(replayed), page(replayed), form)
    return DONE


def run(recording: Recording) -> Replay:
    """Feed a recording to the engine; RecordingError where it is of other metrics."""
    spec, decision = recording.experiment.spec, recording.experiment.spec.decision
    if not answerable(spec, recording.base_rates) and not _forecastable(recording):
        raise RecordingError("baseRates and guardrails do not name the same metrics")
    engine = Engine.begin(spec, recording.attempt, recording.base_rates, recording.dispersions)
    known = set(engine.dispersions)
    foreign = {name for bucket in recording.buckets for name in bucket.metrics} - known
    if foreign:
        names = ", ".join(sorted(foreign))
        raise RecordingError(
            f"buckets count {names}, but the experiment guards {', '.join(sorted(known))}"
        )
    begun = recording.buckets[0].start if recording.since is None else recording.since
    moments = [
        Moment(bucket, report, bucket.end - begun >= decision.min_duration.total_seconds())
        for bucket, report in _reports(recording, engine)
    ]
    risks = (
        risk_of_attempt(risk, recording.attempt)
        for risk in (decision.rollback_risk, decision.promotion_risk)
    )
    rollback, promotion = risks
    return Replay(recording, moments, (1 / rollback, 1 / promotion))


def _recording(past: Past, experiment: Experiment | None) -> Recording:
    if past.file is not None:
        return read_recording(past.file, experiment)
    if past.range is not None:
        if experiment is None:
            raise RecordingError(
                "--prometheus needs --experiment FILE, which says what to ask and by what margins"
            )
        return read_past(past.range, experiment, now=time.time())
    namespace = past.namespace or current_namespace()
    live = asyncio.run(_find(namespace, str(past.run)))
    if live is None:
        raise RecordingError(
            f"namespace {namespace} has no {RUN_KIND} called {past.run}; "
            f"see: kubectl get {RUN_KIND.lower()}s -n {namespace}"
        )
    return of_run(live, experiment)


async def _find(namespace: str, name: str) -> Manifest | None:
    cluster = await Cluster.open()
    try:
        return await cluster.get(API_VERSION, RUN_KIND, namespace, name)
    finally:
        await cluster.close()


def _reports(recording: Recording, engine: Engine) -> Iterator[tuple[Bucket, Report]]:
    """Judge each bucket: from its pods, or where an operator recorded it, as it was weighed."""
    spec = recording.experiment.spec
    if not recording.points:
        for bucket in recording.buckets:
            yield bucket, engine.update(spec, bucket)
    for bucket, point in zip(recording.buckets, recording.points, strict=False):
        yield bucket, engine.recall(spec, point.counts, point.end, harm_only=point.harm_only)


def _forecastable(recording: Recording) -> bool:
    """Whether each guardrail has a rate of its own name, as where nothing was measured."""
    names = {each.name for each in recording.experiment.spec.guardrails}
    return names == set(recording.base_rates)


def page(replayed: Replay) -> Page:
    """Say it to people."""
    experiment = replayed.recording.experiment
    rollback, promotion = replayed.needed
    text = Page()
    text.say(
        f"{experiment.name}: {len(replayed.moments)} buckets; a roll-back needs evidence of harm "
        f"{rollback:.4g} on average over guardrails and restarts, a promotion evidence of safety "
        f"{promotion:.4g} on every guardrail."
    )
    if replayed.recording.thinned:
        text.say(f"Of the record {replayed.recording.thinned}: there it is an approximation.")
    text.say("")
    text.tabulate(
        ("end, UTC", "guardrail", "champion", "challenger", "harm", "safety", "verdict"),
        [row for moment in replayed.moments for row in _rows(moment)],
    )
    text.say("")
    text.say(_ending(replayed))
    if replayed.recording.points:
        text.say(_compared(replayed))
    return text


def _rows(moment: Moment) -> Iterator[tuple[str, ...]]:
    end, verdict = f"{datetime.fromtimestamp(moment.bucket.end, UTC):%m-%d %T}", moment.verdict
    for name, metric in _guardrails(moment.report):
        counted = moment.bucket.metrics.get(name)
        counts = None if counted is None else counted.counts
        n_a, x_a, n_b, x_b = counts or (0.0, 0.0, 0.0, 0.0)
        yield (
            end,
            name,
            _share(x_a, n_a),
            _share(x_b, n_b),
            _e_value(metric.log_e_harm),
            _e_value(metric.log_e_noninferiority),
            verdict,
        )
        end = verdict = ""


def _guardrails(report: Report) -> Iterator[tuple[str, MetricReport]]:
    return ((name, each) for name, each in report.metrics.items() if not each.harm_only)


def _share(bad: float, total: float) -> str:
    return f"{percent(bad / total)} of {total:.0f}" if total else "none"


def _e_value(log_e: float) -> str:
    return f"{exp(min(log_e, _LARGEST)):.3g}"


def _ending(replayed: Replay) -> str:
    rolled_back, promoted = map(replayed.first, (Verdict.ROLLBACK, Verdict.PROMOTE))
    ended = min(
        (each for each in (rolled_back, promoted) if each),
        key=lambda each: each.bucket.end,
        default=None,
    )
    if ended is None:
        return "It would have gone on: no verdict by the end of what was recorded."
    number = replayed.moments.index(ended) + 1
    when = f"{datetime.fromtimestamp(ended.bucket.end, UTC):%F %T} UTC, after {number} buckets"
    if ended is rolled_back:
        return f"It would have rolled back at {when}, on {ended.report.blame}."
    return f"It would have promoted at {when}, once its steps were over."


def _compared(replayed: Replay) -> str:
    """Say whether the verdicts are those on record: they are, for the same question."""
    pairs = list(zip(replayed.moments, replayed.recording.points, strict=True))
    others = [moment for moment, point in pairs if str(moment.report.verdict) != point.verdict]
    if not others:
        return f"The operator's verdict was the same in each of {len(pairs)} points on record."
    first = f"{datetime.fromtimestamp(others[0].bucket.end, UTC):%F %T} UTC"
    return f"The operator's verdict was another in {len(others)} of {len(pairs)}, first at {first}."


def values(replayed: Replay) -> dict[str, Any]:
    """Return it for programs."""
    ends = {
        verdict: None if moment is None else moment.bucket.end
        for verdict, moment in (
            ("rollback", replayed.first(Verdict.ROLLBACK)),
            ("promote", replayed.first(Verdict.PROMOTE)),
        )
    }
    return {
        "experiment": replayed.recording.experiment.name,
        "needed": dict(zip(("rollback", "promotion"), replayed.needed, strict=True)),
        "first": ends,
        "attempt": replayed.recording.attempt,
        "recordedVerdicts": [point.verdict for point in replayed.recording.points],
        "thinned": replayed.recording.thinned,
        "buckets": [_values(moment) for moment in replayed.moments],
    }


def _values(moment: Moment) -> dict[str, Any]:
    report = moment.report
    return {
        "end": moment.bucket.end,
        "verdict": moment.verdict,
        "blame": report.blame,
        "logEvidenceOfHarm": report.log_e_rollback,
        "metrics": {
            name: {
                "logHarm": each.log_e_harm,
                "logSafety": each.log_e_noninferiority,
                "probabilityWorse": each.probability_worse_than_margin,
                "ratio": {"low": each.interval[0], "high": each.interval[1]},
            }
            for name, each in report.metrics.items()
        },
    }


def _lines(replayed: Replay) -> dict[str, list[tuple[float, float]]]:
    """Return what is drawn: harm of all together, and the least safety of the guardrails."""
    return {
        "harm": [(each.bucket.end, each.report.log_e_rollback) for each in replayed.moments],
        "safety": [
            (
                each.bucket.end,
                min(metric.log_e_noninferiority for _, metric in _guardrails(each.report)),
            )
            for each in replayed.moments
        ],
    }
