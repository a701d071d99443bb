"""`shieldx explain NAME`: why this verdict, with the numbers and the counters that they are of."""

import asyncio
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from shieldx.cli.explanation import Json, Trial, explain, of_experiment, of_run
from shieldx.cli.output import Format, Page, percent, write
from shieldx.kube import Cluster, KubeError, current_namespace
from shieldx.resources.shadowexperiment import API_VERSION, KIND, RUN_KIND

DONE: Final = 0
UNKNOWN: Final = 2

_BAR: Final = 20


class NotFoundError(Exception):
    """There is nothing to explain; the message says where was looked."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained: by its name in a cluster, or as a file holds it."""

    name: str | None
    namespace: str | None = None
    file: Path | None = None


def answer(question: Question, form: Format) -> int:
    """Explain, and return the exit code."""
    try:
        explanation = explain(_trial(question))
    except (NotFoundError, KubeError, OSError, ValueError) as error:
        sys.stderr.write(f"shieldx explain: {error}\n")
        return UNKNOWN
    write(explanation, page(explanation), form)
    return DONE


def _trial(question: Question) -> Trial:
    if question.file is not None:
        return _parsed(_read(question.file))
    namespace = question.namespace or current_namespace()
    found, record = asyncio.run(_find(namespace, str(question.name)))
    if found is None:
        raise NotFoundError(
            f"namespace {namespace} has no {KIND} and no {RUN_KIND} called {question.name}; "
            f"see: kubectl get shadowexperiments,experimentruns -n {namespace}"
        )
    trial = _parsed(found)
    return trial if record is None else trial.judged_by(record)


def _read(file: Path) -> Any:
    try:
        return yaml.safe_load(sys.stdin if str(file) == "-" else file.read_text())
    except OSError as error:
        raise NotFoundError(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise NotFoundError(
            f"{file} is not one object in YAML: {said}; read an experiment with: "
            f"kubectl get {KIND.lower()} NAME -o yaml"
        ) from error


async def _find(namespace: str, name: str) -> tuple[Json | None, Json | None]:
    """Return the experiment and the record of its run, or a record of that name."""
    cluster = await Cluster.open()
    try:
        live = await cluster.get(API_VERSION, KIND, namespace, name)
        if live is None:
            return await cluster.get(API_VERSION, RUN_KIND, namespace, name), None
        run = live.get("status", {}).get("runRef")
        return live, run and await cluster.get(API_VERSION, RUN_KIND, namespace, run)
    finally:
        await cluster.close()


def _parsed(live: Any) -> Trial:
    kind = live.get("kind") if isinstance(live, dict) else None
    try:
        if kind == KIND:
            return of_experiment(live)
        if kind == RUN_KIND:
            return of_run(live)
    except (KeyError, TypeError) as missing:
        raise NotFoundError(
            f"this {kind} is not as a cluster of this version stores it: {missing} is missing; "
            f"read it with: kubectl get {str(kind).lower()} NAME -o yaml"
        ) from missing
    held = "nothing that has a kind" if kind is None else f"of kind {kind}"
    raise NotFoundError(
        f"this is neither a {KIND} nor an {RUN_KIND}, but {held}; read one with: "
        f"kubectl get {KIND.lower()} NAME -o yaml"
    )


def page(explanation: Json) -> Page:
    """Say it to people."""
    text = Page()
    for line in _head(explanation):
        text.say(line)
    for metric in explanation["metrics"]:
        text.say("")
        text.say(metric["name"], style="bold")
        text.describe(list(_lines(metric)))
    if explanation["metrics"]:
        text.say("")
        for line in _foot(explanation):
            text.say(line)
    return text


def _head(explanation: Json) -> Iterator[str]:
    where = f" in {explanation['namespace']}" if "namespace" in explanation else ""
    since = f" since {explanation['since']}" if "since" in explanation else ""
    yield f"{explanation['experiment']}{where}: {explanation['phase']}{since}"
    if "decision" in explanation:
        yield explanation["decision"]
    if "challenger" in explanation:
        step = explanation.get("step", {})
        weight = f", at {step['actual']}% of the pods" if step.get("actual") else ""
        yield (
            f"Revision {explanation['challenger']} against {explanation.get('champion', '?')}, "
            f"attempt {explanation['attempt']}{weight}; record: {explanation.get('run', 'none')}"
        )
    yield from (f"{name} is {said}" for name, said in explanation.get("conditions", {}).items())
    if explanation["metrics"]:
        yield _as_of(explanation)
    elif explanation["phase"] == "Unfinished":
        yield (
            "The run goes on, and the evidence comes into its record at the end; until then: "
            f"shieldx explain {explanation['experiment']}"
        )
    else:
        yield "No bucket of a challenger has been counted, so there is no evidence to explain."


def _as_of(explanation: Json) -> str:
    as_of = explanation["asOf"]
    last = f"the bucket until {as_of['lastBucketEnd']}" if "lastBucketEnd" in as_of else ""
    if not as_of["decided"]:
        return f"Evidence so far, up to {last or 'the newest bucket'}."
    at = f" at {as_of['decidedAt']}" if "decidedAt" in as_of else ""
    after = f", after {last}" if last else ", rounded as it was shown then"
    return f"Evidence as of the decision{at}{after}."


def _lines(metric: Json) -> Iterator[tuple[str, str]]:
    for arm, counted in metric.get("counted", {}).items():
        share = f" ({percent(counted['bad'] / counted['total'])})" if counted["total"] else ""
        yield arm, f"{counted['bad']:,} bad of {counted['total']:,}{share}"
    yield "asked", _asked(metric["championRates"])
    for name in ("harm", "safety"):
        if metric.get(name):
            yield name, _evidence(metric[name])
    if ratio := metric.get("ratio"):
        within = f"95% within {ratio['low']:.3g} and {ratio['high']:.3g}"
        yield "ratio", f"{ratio['estimate']:.3g} times the champion's share, {within}"
    if "probabilityWorse" in metric:
        lately = metric.get("probabilityWorseLately")
        yield (
            "worse",
            f"P(worse than the margin) {metric['probabilityWorse']:.3f}"
            + ("" if lately is None else f", {lately:.3f} by the last minDuration alone"),
        )
    if metric.get("dispersion", 1.0) > 1.0:
        times = f"{metric['dispersion']:.3g} times"
        yield "scatter", f"pods differ {times} as much as by chance: so much less a bucket counts"
    if "missing" in metric:
        yield "missing", metric["missing"]
    yield "all", metric["query"]["all"]
    yield "bad", metric["query"]["bad"]
    if "relay" in metric["query"]:
        yield "relay", metric["query"]["relay"]


def _asked(rates: Mapping[str, float]) -> str:
    harm = f"harm is above {percent(rates['harmAbove'])}"
    margin = f", promoted below {percent(rates['margin'])}" if "margin" in rates else ""
    return f"with a champion at {percent(rates['frozen'])}, {harm}{margin}"


def _evidence(evidence: Mapping[str, float]) -> str:
    log_e, done = evidence.get("log"), evidence.get("done")
    said = "" if log_e is None else f"e {math.exp(min(log_e, 600.0)):.4g}, ln {log_e:.3f}"
    if "neededLog" in evidence:
        said += f" of {evidence['neededLog']:.3f} needed"
    if done is not None:
        filled = round(done * _BAR)
        said += f"  {'█' * filled}{'░' * (_BAR - filled)} {100 * done:.0f}%"
    return said


def _foot(explanation: Json) -> Iterator[str]:
    needed = explanation["needed"]
    if "logEvidenceOfHarm" in explanation:
        yield (
            f"Harm of all metrics together, averaged: e "
            f"{math.exp(min(explanation['logEvidenceOfHarm'], 600.0)):.4g} of "
            f"{needed['rollback']:.4g}, in {explanation['buckets']} buckets. Safety: each needs "
            f"e {needed['promotion']:.4g}."
        )
    verdict = explanation.get("verdict")
    if "blame" in explanation:
        yield f"Verdict: {verdict}, on {explanation['blame']}, which has the most evidence of harm."
    elif verdict is not None:
        yield f"Verdict: {verdict}."
    source = explanation["source"]
    if "pods" in source:
        yield (
            f"Counted from {source['pods']} of every pod at the end of each bucket: growth of all "
            "series of a counter, and of those that match."
        )
    else:
        yield (
            f"Counted from raw samples in {source['prometheus']}, of series with "
            f"{source['champion']} of the champion and {source['challenger']} of the challenger, "
            "at the end of each bucket: growth of all series, and of those that match."
        )
