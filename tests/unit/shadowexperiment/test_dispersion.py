"""Long windows of phi stay open from pass to pass, though no status holds them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controllers.shadowexperiment.evidence import Evidence
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.progress import Progress
from shieldx.judgement.engine import Engine
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.signals.readings import Pod, PodReadings, Question, Reading, Scrape, Series
from shieldx.stats import Dispersion
from tests.support.experiments import SPEC

START = datetime(2026, 1, 1, tzinfo=UTC)


class Steady:
    """Every pod counts 1,000 requests and 10 bad ones a bucket."""

    def __init__(self) -> None:
        self.rounds = 0

    async def scrape(
        self,
        questions: Sequence[Question],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        *,
        at: float,  # noqa: ARG002 - there is no other time than now.
    ) -> Scrape:
        self.rounds += 1
        fine, bad = Series(990 * self.rounds, bad=False), Series(10 * self.rounds, bad=True)
        value = Reading({"code='200'": fine, "code='500'": bad})
        champions, challengers = (
            {pod.uid: PodReadings(pod, {c.name: value for c in questions}) for pod in arm}
            for arm in (champion, challenger)
        )
        return Scrape(champions, challengers)


def pods(arm: str) -> list[Pod]:
    return [Pod(f"{arm}{i}", f"{arm}{i}", "10.0.0.1", 0, 0, ready=True) for i in range(2)]


async def test_windows_of_eight_buckets_complete_over_many_passes() -> None:
    spec = ShadowExperimentSpec.parse(SPEC)
    evidence = Evidence(spec, Steady())
    engine = Engine.begin(spec, 0, {"errors": 0.01}, evidence_of_nothing(spec))
    progress = Progress(
        phase=Phase.STEPPING,
        engine=engine.dump(),
        base_rates=(("errors", 0.01),),
        evidence_from=START,
    )

    evidence.take(Phase.STEPPING, pods("champion"), pods("challenger"))
    for bucket in range(20):
        now = START + bucket * timedelta(seconds=10)
        await evidence.scrape(Phase.STEPPING, now)
        evidence.take(Phase.STEPPING, pods("champion"), pods("challenger"))
        judgment = evidence.judge(spec, progress, now, started=START)
        # A write that was lost: the same buckets are judged again, and say the same.
        again = evidence.judge(spec, progress, now, started=START)
        assert again.engine == judgment.engine
        progress = replace(progress, engine=judgment.engine)

    stored = Engine.load(spec, 0, {"errors": 0.01}, str(progress.engine))
    single, eight, _ = stored.dispersions["errors"].sums
    assert single.freedom == 19 * 2
    assert eight.freedom == 2 * 2


class Lagging(Steady):
    """Has the newest samples at the third time of asking."""

    asked_at: list[float]

    def __init__(self) -> None:
        super().__init__()
        self.asked_at = []

    async def scrape(
        self,
        questions: Sequence[Question],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        *,
        at: float,
    ) -> Scrape:
        self.asked_at.append(at)
        found = await super().scrape(questions, champion, challenger, at=at)
        return replace(found, early=len(self.asked_at) < 3)


async def test_a_source_that_lags_is_asked_again_about_the_same_moment() -> None:
    source = Lagging()
    evidence = Evidence(ShadowExperimentSpec.parse(SPEC), source)
    evidence.take(Phase.STEPPING, pods("champion"), [])
    due = []
    for seconds in (0.1, 0.2, 1.1, 2.1):
        now = START + timedelta(seconds=seconds)
        await evidence.scrape(Phase.STEPPING, now)
        evidence.take(Phase.STEPPING, pods("champion"), [])
        due.append((evidence.next_at(now) - START).total_seconds())

    assert source.asked_at == [START.timestamp()] * 3
    assert due == [pytest.approx(1.1), pytest.approx(1.1), pytest.approx(2.1), 10]


def evidence_of_nothing(spec: ShadowExperimentSpec) -> dict[str, Dispersion]:
    return {guardrail.name: Dispersion() for guardrail in spec.guardrails}
