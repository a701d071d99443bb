"""The source for those who have a Prometheus already: raw samples of each pod, as of one moment.

A range selector returns samples as they were scraped; `rate()` and its kin would extrapolate. Of
each pod the newest scrape that is not after the end of the bucket is taken, whole: all series
that it brought, and none that it did not. Pods are scraped at different moments, so their windows
lie up to one scrape interval apart; but each follows its own predecessor without gap or overlap,
so every event is counted once.

A pod is not judged by what may be old. If its newest scrape failed, or came more than a scrape
interval before the end of the bucket, it was not scraped, and that is said.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from shieldx.signals.prometheus_server import Found, MalformedAnswerError, Prometheus, SilentError
from shieldx.signals.readings import (
    Histogram,
    Pod,
    PodReadings,
    Problem,
    Question,
    Reading,
    Scrape,
    Trouble,
)
from shieldx.signals.samples import reading_of

# How much later than an interval a scrape may come, and clocks may differ.
SLACK_SECONDS: Final = 2.0
NAME: Final = "__name__"
UP: Final = "up"
# What tells targets apart where `up` does not say it.
_TARGET: Final = frozenset({"job", "instance"})


class PrometheusSource:
    """Reads the counters of pods from one Prometheus, by the label that names the pod."""

    def __init__(
        self,
        server: Prometheus,
        *,
        match_labels: Mapping[str, str],
        pod_label: str,
        scrape_interval_seconds: float,
    ) -> None:
        self._server = server
        self._match_labels = match_labels
        self._pod_label = pod_label
        self._fresh_seconds = scrape_interval_seconds + SLACK_SECONDS

    async def scrape(
        self,
        questions: Sequence[Question],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        *,
        at: float,
    ) -> Scrape:
        """Read all counters of both arms in one query."""
        pods = [*champion, *challenger]
        if not pods:
            return Scrape({}, {})
        try:
            found = await self._server.ask(self.query(questions, pods), at)
        except (SilentError, MalformedAnswerError) as failure:
            silent = isinstance(failure, SilentError)
            trouble = Trouble.NOT_SCRAPED if silent else Trouble.MALFORMED
            problem = Problem(trouble, f"Prometheus {self._server.url} {failure}")
            blind = {
                it.uid: PodReadings(it, dict.fromkeys(_names(questions), problem)) for it in pods
            }
            return _scrape(blind, champion, challenger, early=False)
        of_pods: dict[str, list[Found]] = {pod.name: [] for pod in pods}
        for each in found:
            of_pods.get(each.metric.get(self._pod_label, ""), []).append(each)
        read = {
            pod.uid: PodReadings(
                pod, {it.name: self._read(it, pod, of_pods[pod.name], at) for it in questions}
            )
            for pod in pods
        }
        early = any(
            it.pod.ready and isinstance(value, Problem) and value.trouble is Trouble.NOT_SCRAPED
            for it in read.values()
            for value in it.readings.values()
        )
        return _scrape(read, champion, challenger, early=early)

    def query(self, questions: Sequence[Question], pods: Sequence[Pod]) -> str:
        """Return the selector of all raw samples that a round needs, in PromQL."""
        classic = {name for question in questions for name in question.metrics}
        native = {it.histogram for it in questions if isinstance(it, Histogram)}
        names = sorted(classic | native)
        matchers = [
            f"{NAME}=~{json.dumps('|'.join([*names, UP]))}",
            f"{self._pod_label}=~{json.dumps('|'.join(_escaped(pod.name) for pod in pods))}",
            *(f"{label}={json.dumps(value)}" for label, value in self._match_labels.items()),
        ]
        return f"{{{','.join(matchers)}}}[{2000 * self._fresh_seconds:.0f}ms]"

    def _read(
        self, question: Question, pod: Pod, found: Sequence[Found], at: float
    ) -> Reading | Problem:
        """Return what the newest scrape of a pod says of a counter."""
        all_ups = [each for each in found if each.metric[NAME] == UP]
        labels = _TARGET.union(*(each.metric.keys() for each in all_ups)) - {NAME}
        fresh = [
            each
            for each in found
            if each.metric[NAME] in question.metrics and at - each.newest.at <= self._fresh_seconds
        ]
        targets = {_part(each, labels) for each in fresh}
        if len(targets) > 1:
            return _ambiguous(question, pod, fresh)
        ups = [each for each in all_ups if not targets or _part(each, labels) in targets]
        scraped = max((each.newest.at for each in (*fresh, *ups)), default=None)
        if scraped is None:
            label = f'{self._pod_label}="{pod.name}"'
            return _unscraped(
                f"has no sample of late with {label}: it must scrape the pods and say so"
            )
        if at - scraped > self._fresh_seconds:
            age = f"{at - scraped:.0f} s older than the end of the bucket"
            return _unscraped(f"has of pod {pod.name} nothing newer than {age}")
        if any(up.newest.value != 1 for up in ups if at - up.newest.at <= self._fresh_seconds):
            return _unscraped(f"could not scrape pod {pod.name}")
        samples = [
            (
                each.metric[NAME],
                {k: v for k, v in each.metric.items() if k not in labels | {NAME}},
                each.newest.value,
            )
            for each in fresh
            if each.newest.at == scraped
        ]
        return reading_of(question, samples, pod.name, taken_at=scraped)


def _names(questions: Iterable[Question]) -> list[str]:
    return [question.name for question in questions]


def _scrape(
    read: Mapping[str, PodReadings],
    champion: Sequence[Pod],
    challenger: Sequence[Pod],
    *,
    early: bool,
) -> Scrape:
    return Scrape(
        {pod.uid: read[pod.uid] for pod in champion},
        {pod.uid: read[pod.uid] for pod in challenger},
        early=early,
    )


def _escaped(name: str) -> str:
    """Return the name of a pod as a regular expression; of its characters only one is special."""
    return name.replace(".", r"\.")


def _part(each: Found, labels: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple((label, each.metric.get(label, "")) for label in sorted(labels))


def _unscraped(what: str) -> Problem:
    return Problem(Trouble.NOT_SCRAPED, f"Prometheus {what}")


def _ambiguous(question: Question, pod: Pod, found: Sequence[Found]) -> Problem:
    """Say that a pod is there more than once: added up, it would count for two."""
    places = sorted(
        {f"job {it.metric.get('job')!r} at {it.metric.get('instance')!r}" for it in found}
    )
    message = (
        f"Prometheus has {question.metric} of pod {pod.name} from {' and '.join(places[:3])}: "
        "say which one counts in spec.metrics.source.prometheus.matchLabels"
    )
    return Problem(Trouble.AMBIGUOUS, message)
