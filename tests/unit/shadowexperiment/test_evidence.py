"""What one process remembers of a run ends with the run."""

import math
from dataclasses import replace
from datetime import timedelta

from controllers.shadowexperiment.evidence import Evidence
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.progress import Progress
from shieldx.judgement.engine import Engine
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
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


async def judged(
    evidence: Evidence, spec: ShadowExperimentSpec, progress: Progress
) -> list[Report]:
    """Return what is known after each of ten buckets."""
    reports = []
    evidence.take(Phase.STEPPING, pods("champion"), pods("challenger"))
    for bucket in range(11):
        now = START + bucket * timedelta(seconds=10)
        await evidence.scrape(Phase.STEPPING, now)
        evidence.take(Phase.STEPPING, pods("champion"), pods("challenger"))
        judgment = evidence.judge(spec, progress, now, started=START)
        progress = replace(progress, engine=judgment.engine)
        if judgment.report is not None:
            reports.append(judgment.report)
    return reports
