"""What one process remembers of a run ends with the run."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from controllers.shadowexperiment.evidence import Evidence
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.progress import Progress
from shieldx.judgement.engine import Engine
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.signals.readings import Pod
from shieldx.stats import Report
from tests.support.experiments import SPEC
from tests.unit.shadowexperiment.test_dispersion import START, Steady, evidence_of_nothing, pods


async def test_a_run_that_begins_where_another_began_may_still_risk_only_half() -> None:
    spec = ShadowExperimentSpec.parse(SPEC)
    evidence = Evidence(spec, Steady())
    first = Progress(
        phase=Phase.STEPPING,
        engine=Engine.begin(spec, 0, {"errors": 0.01}, evidence_of_nothing(spec)).dump(),
        base_rates=(("errors", 0.01),),
        reached_at=START,
        evidence_from=START,
    )
    evidence.judge(spec, first, START, started=START)
    evidence.judge(spec, replace(first, phase=Phase.ROLLING_BACK), START, started=START)

    second = replace(first, attempt=1)
    alone = await judged(Evidence(spec, Steady()), spec, second)
    assert await judged(evidence, spec, second) == alone
    assert alone != await judged(Evidence(spec, Steady()), spec, first)


async def test_while_pods_join_buckets_prove_no_safety() -> None:
    spec = ShadowExperimentSpec.parse(SPEC)
    joining = Progress(
        phase=Phase.STEPPING,
        engine=Engine.begin(spec, 0, {"errors": 0.01}, evidence_of_nothing(spec)).dump(),
        base_rates=(("errors", 0.01),),
        evidence_from=START,
    )

    reached = await judged(Evidence(spec, Steady()), spec, replace(joining, reached_at=START))
    not_yet = await judged(Evidence(spec, Steady()), spec, joining)
    assert max(r.metrics["errors"].log_e_noninferiority for r in reached) > math.log(100)
    assert max(r.metrics["errors"].log_e_noninferiority for r in not_yet) < 1e-9
    assert reached[-1].log_e_rollback == not_yet[-1].log_e_rollback


@pytest.mark.parametrize(("began", "silent"), [(25, [4, 5, 6]), (4000, [])])
async def test_a_pod_that_joins_in_between_proves_no_safety_before_what_hangs_in_it_is_counted(
    began: float, silent: list[int]
) -> None:
    # As where the target is scaled. A clock that is far ahead tells nothing.
    timing = {"warmUp": "10s", "requestTimeout": "30s"}
    spec = ShadowExperimentSpec.parse({**SPEC, "strategy": {**SPEC["strategy"], **timing}})
    progress = Progress(
        phase=Phase.STEPPING,
        engine=Engine.begin(spec, 0, {"errors": 0.01}, evidence_of_nothing(spec)).dump(),
        base_rates=(("errors", 0.01),),
        reached_at=START,
        evidence_from=START,
    )
    first, second = pods("challenger")
    later = replace(second, started_at=START.timestamp() + began)

    def tried(now: datetime) -> list[Pod]:
        return [first, later] if now - START > timedelta(seconds=25) else [first]

    reports = await judged(Evidence(spec, Steady()), spec, progress, tried)

    safety = [report.metrics["errors"].log_e_noninferiority for report in reports]
    gained = [later > before + 1e-9 for before, later in pairwise(safety)]
    assert [at for at, it in enumerate(gained, start=1) if not it] == silent


async def judged(
    evidence: Evidence,
    spec: ShadowExperimentSpec,
    progress: Progress,
    tried: Callable[[datetime], list[Pod]] = lambda _: pods("challenger"),
) -> list[Report]:
    """Return what is known after each of ten buckets."""
    reports = []
    evidence.take(Phase.STEPPING, pods("champion"), tried(START))
    for bucket in range(11):
        now = START + bucket * timedelta(seconds=10)
        await evidence.scrape(Phase.STEPPING, now)
        evidence.take(Phase.STEPPING, pods("champion"), tried(now))
        judgment = evidence.judge(spec, progress, now, started=START)
        progress = replace(progress, engine=judgment.engine)
        if judgment.report is not None:
            reports.append(judgment.report)
    return reports
