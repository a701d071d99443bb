"""The past of two versions, read from a Prometheus: the buckets an operator would have closed.

The queries are the operator's own, each as of the end of a bucket in the past. What Kubernetes knew
is gone: which pods there were is told by `up`, and restarts are not known at all.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
from typing import Final

import aiohttp

from shieldx.cli.experiment_file import Experiment
from shieldx.cli.recording import Recording, RecordingError
from shieldx.judgement.beginning import asked, frozen_rates
from shieldx.resources.durations import format_duration
from shieldx.resources.shadowexperiment import PrometheusServer, challenger_pods, champion_pods
from shieldx.signals.baseline import LONGEST_SECONDS, Baseline
from shieldx.signals.buckets import Bucket, Recorder
from shieldx.signals.prometheus import SLACK_SECONDS, UP, PrometheusSource
from shieldx.signals.prometheus_server import MalformedAnswerError, Prometheus, SilentError
from shieldx.signals.readings import Pod
from shieldx.signals.selector import InvalidSelectorError

MOST_BUCKETS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Range:
    """Where to look: a server, a time, and by name which pods were of which version.

    `champion` and `challenger` are regular expressions; without them pods are known by the names
    that an experiment gives them. The hour before `begin` says what was normal.
    """

    url: str
    begin: datetime
    end: datetime
    champion: str | None = None
    challenger: str | None = None


def read_past(asked_for: Range, experiment: Experiment, *, now: float) -> Recording:
    """Return the buckets of a range; RecordingError where there are none, or no answer."""
    source = experiment.spec.source
    if not isinstance(source, PrometheusServer):
        raise RecordingError(
            "the experiment reads its pods, who keep no past: give it "
            "metrics.source.prometheus with the matchLabels and scrapeInterval of that Prometheus"
        )
    if not asked_for.url.startswith(("http://", "https://")):
        raise RecordingError(
            f"--prometheus is an address such as http://localhost:9090, and not {asked_for.url}"
        )
    for option, names in (
        ("--champion", asked_for.champion),
        ("--challenger", asked_for.challenger),
    ):
        try:
            re.compile(names or "")
        except re.error as error:
            raise RecordingError(
                f"{option} is a regular expression of names of pods: {names} is none, {error}"
            ) from error
    length = experiment.spec.decision.bucket.total_seconds()
    seconds = (asked_for.end - asked_for.begin).total_seconds()
    if not length <= seconds <= MOST_BUCKETS * length:
        most = format_duration(timedelta(seconds=MOST_BUCKETS * length))
        raise RecordingError(
            "--from is when the challenger came, and before --to"
            if seconds <= 0
            else f"from --from to --to there is at least a bucket of {length:.0f}s, and at most "
            f"{MOST_BUCKETS:,} ({most})"
        )
    if asked_for.begin.timestamp() > now:
        raise RecordingError(f"--from {asked_for.begin:%FT%TZ} has not come yet")
    try:
        return asyncio.run(_read(asked_for, experiment, source))
    except InvalidSelectorError as malformed:
        raise RecordingError(f"spec.metrics.guardrails[].bad: {malformed}") from malformed
    except (SilentError, MalformedAnswerError) as failure:
        raise RecordingError(
            f"Prometheus {asked_for.url} {failure}; is it the address that a browser opens? In a "
            "cluster first: kubectl port-forward"
        ) from failure


async def _read(asked_for: Range, experiment: Experiment, source: PrometheusServer) -> Recording:
    spec = experiment.spec
    questions = [asked(guardrail) for guardrail in spec.guardrails]
    names = [question.name for question in questions]
    recorder = Recorder(names, spec.decision.bucket.total_seconds())
    baseline, buckets = Baseline(names), list[Bucket]()
    begin, last = asked_for.begin.timestamp(), asked_for.end.timestamp()
    at = recorder.boundary(begin - LONGEST_SECONDS)
    interval = source.scrape_interval.total_seconds()
    async with aiohttp.ClientSession() as session:
        server = Prometheus(session, asked_for.url)
        reader = PrometheusSource(
            server,
            match_labels=source.match_labels,
            pod_label=source.pod_label,
            scrape_interval_seconds=interval,
        )
        while at <= last:
            ups = await server.ask(_ups(source, interval + SLACK_SECONDS), at)
            seen = sorted({up.metric.get(source.pod_label, "") for up in ups})
            champion, challenger = _arms(seen, asked_for, spec.target)
            tried = challenger if at >= floor(begin) else []
            recorder.add(await reader.scrape(questions, champion, tried, at=at), at)
            for bucket in recorder.closed():
                if bucket.end <= begin:
                    baseline.add(bucket)
                else:
                    buckets.append(bucket)
            at += spec.decision.bucket.total_seconds()
    rates = _rates(experiment, baseline)
    dispersions = {name: baseline.dispersion(name) for name in rates}
    return Recording(experiment, rates, tuple(_counting(buckets)), dispersions=dispersions)


def _ups(source: PrometheusServer, seconds: float) -> str:
    labels: Mapping[str, str] = {**source.match_labels, "__name__": UP}
    matchers = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
    return f"{{{matchers}}}[{1000 * seconds:.0f}ms]"


def _arms(names: Sequence[str], asked_for: Range, target: str) -> tuple[list[Pod], list[Pod]]:
    """Return the pods of both versions; one that fits both is the challenger's."""
    challenger = asked_for.challenger or challenger_pods(target)
    champion = asked_for.champion or champion_pods(target)
    tried = [name for name in names if re.fullmatch(challenger, name)]
    others = [name for name in names if re.fullmatch(champion, name) and name not in tried]
    return list(map(_pod, others)), list(map(_pod, tried))


def _pod(name: str) -> Pod:
    return Pod(uid=name, name=name, ip="", started_at=0.0, restarts=0, ready=True, watched=False)


def _rates(experiment: Experiment, baseline: Baseline) -> dict[str, float]:
    rates: dict[str, float] = {}
    for guardrail in experiment.spec.guardrails:
        known = frozen_rates(guardrail, baseline)
        if not known:
            raise RecordingError(
                f"{guardrail.name} of the champion is not known: in the hour before --from it had "
                "too few requests to find its quantile"
            )
        rates |= known
    return rates


def _counting(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Return the buckets from the first in which both versions were counted."""
    for at, bucket in enumerate(buckets):
        if any(metric.counts is not None for metric in bucket.metrics.values()):
            return list(buckets[at:])
    said = buckets[-1].message if buckets else "no bucket was closed"
    raise RecordingError(
        f"there is no bucket in which both versions were counted; of the last: {said}. Are the "
        "pods called so (--champion, --challenger), and is matchLabels right?"
    )
