"""When a weight may rise and a challenger be promoted: each condition alone holds it back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from controllers.shadowexperiment.facts import Challenger, Observed, Situation, Target
from controllers.shadowexperiment.findings import find
from controllers.shadowexperiment.manifests import Names, Template, configuration_hash
from controllers.shadowexperiment.phases import Finding, Phase
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.verdicts import Judgment
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.stats import MetricReport, Report, Verdict
from tests.support.experiments import SPEC, template

NOW = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
METRIC = MetricReport(
    log_e_harm=-1.0,
    log_e_noninferiority=5.0,
    log_e_superiority=0.0,
    probability_better=0.5,
    probability_worse_than_margin=0.01,
    probability_worse_than_margin_recent=0.01,
    interval=(0.5, 1.5),
    expected_loss=0.0,
    champion_total=1000,
    champion_bad=5,
    challenger_total=1000,
    challenger_bad=5,
)
REPORT = Report(
    verdict=Verdict.PROMOTE,
    log_e_rollback=-1.0,
    blame=None,
    buckets=10,
    last_end=NOW.timestamp(),
    metrics=MappingProxyType({"errors": METRIC}),
)
FINE = Judgment(state="Sufficient", report=REPORT, engine="{}", fresh_end=NOW)
LAST = Progress(
    phase=Phase.STEPPING,
    champion="v1",
    challenger="v2",
    step=2,
    weight=50,
    since=NOW - timedelta(minutes=2),
    reached_at=NOW - timedelta(minutes=1),
    served_since=NOW - timedelta(minutes=3),
    configuration=configuration_hash(SPEC),
)
FIRST = replace(LAST, step=1, weight=25)
TARGET = Target(
    resource_version="1",
    template=Template("v2", template("v2"), 0, 120),
    replicas=3,
    ready=3,
    paused=True,
    held=True,
    labelled=True,
    rolled_out=False,
    serving="v1",
)
SEEN = Observed(
    generation=1,
    uid="u",
    resource_version="1",
    spec=SPEC,
    status={},
    target=TARGET,
    challenger=Challenger("v2", 3),
    challenger_pods=3,
    challenger_ready=3,
    run_exists=True,
)


def found(before: Progress = LAST, judgment: Judgment = FINE, seen: Observed = SEEN) -> Finding:
    spec = ShadowExperimentSpec.parse(SPEC)
    return find(Situation(Names("shop", "trial", "shop"), spec, seen, before, judgment, NOW))


def of(report: Report, **changes: object) -> Judgment:
    return replace(FINE, report=replace(report, **changes))  # type: ignore[arg-type] # by name.


def test_fresh_and_fine_evidence_raises_the_weight() -> None:
    assert found(FIRST) is Finding.FRESH_AND_FINE


def test_proof_at_the_last_step_promotes() -> None:
    assert found(LAST) is Finding.PROVEN


DOUBTS = {
    "no bucket since the operator started": replace(FINE, fresh_end=None),
    "a bucket from before the time was up": replace(FINE, fresh_end=NOW - timedelta(seconds=31)),
    "even odds of ten for harm": of(REPORT, log_e_rollback=2.31),
    "more likely beyond the margin than not": of(
        REPORT,
        metrics=MappingProxyType({"errors": replace(METRIC, probability_worse_than_margin=0.5)}),
    ),
    "nothing known": Judgment(),
}


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("before", [FIRST, LAST], ids=["first", "last"])
def test_in_doubt_everything_stays(doubt: str, before: Progress) -> None:
    assert found(before, DOUBTS[doubt]) is Finding.STEADY


def test_without_proof_the_last_step_goes_on() -> None:
    assert found(LAST, of(REPORT, verdict=Verdict.CONTINUE)) is Finding.STEADY


def test_nothing_is_promoted_before_its_least_duration() -> None:
    young = replace(LAST, served_since=NOW - timedelta(seconds=59))

    assert found(young) is Finding.STEADY


def test_a_stored_rollback_is_acted_on_without_any_bucket() -> None:
    harmful = replace(of(REPORT, verdict=Verdict.ROLLBACK), fresh_end=None)

    assert found(LAST, harmful) is Finding.HARMFUL
    assert found(replace(LAST, reached_at=None), harmful) is Finding.HARMFUL


def test_pods_that_are_late_are_stuck_in_any_step() -> None:
    waiting = replace(LAST, reached_at=None, since=NOW - timedelta(seconds=121))
    unready = replace(SEEN, challenger_ready=2)

    assert found(waiting, seen=unready) is Finding.STUCK
    in_time = replace(waiting, since=NOW - timedelta(seconds=120))
    assert found(in_time, seen=unready) is Finding.STEADY
    assert found(waiting, seen=SEEN) is Finding.READY


def test_pods_of_another_revision_are_not_ready_for_this_one() -> None:
    preparing = replace(FIRST, phase=Phase.PREPARING, reached_at=None)
    old = replace(SEEN, challenger=Challenger("v0", 3))

    assert found(preparing, seen=old) is Finding.STEADY


def test_a_champion_without_pods_has_nothing_to_compare_with() -> None:
    empty = replace(SEEN, target=replace(TARGET, replicas=0))

    assert found(LAST, seen=empty) is Finding.PASSED
