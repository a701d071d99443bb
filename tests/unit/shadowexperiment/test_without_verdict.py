"""What happens without a verdict: in time, without data, and on trying again; never a promotion."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.shadowexperiment.facts import Situation
from controllers.shadowexperiment.findings import find
from controllers.shadowexperiment.manifests import Names, configuration_hash
from controllers.shadowexperiment.memory import advance
from controllers.shadowexperiment.phases import Finding, Phase
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.verdicts import Judgment, blind_since
from shieldx.resources.shadowexperiment import NoData, OnDeadline, ShadowExperimentSpec
from shieldx.stats import Verdict
from tests.support.experiments import SPEC, World
from tests.support.fake_cluster import Json
from tests.unit.shadowexperiment.test_findings import FINE, LAST, NOW, SEEN, of

FOR_SIX_MINUTES = replace(LAST, served_since=NOW - timedelta(minutes=6))
UNPROVEN = of(FINE.report, verdict=Verdict.CONTINUE)  # type: ignore[arg-type] # it has one.
HARMFUL = of(FINE.report, verdict=Verdict.ROLLBACK)  # type: ignore[arg-type]


def situation(before: Progress, judgment: Judgment = UNPROVEN, **decision: object) -> Situation:
    spec = ShadowExperimentSpec.parse(SPEC)
    decided = replace(spec.decision, **decision)  # type: ignore[arg-type] # by name.
    spec = replace(spec, decision=decided)
    return Situation(Names("shop", "trial", "shop"), spec, SEEN, before, judgment, NOW)


def found(before: Progress, judgment: Judgment = UNPROVEN, **decision: object) -> Finding:
    return find(situation(before, judgment, **decision))


SHORT = timedelta(minutes=5)
HELD = replace(FOR_SIX_MINUTES, phase=Phase.INCONCLUSIVE)


def test_without_a_verdict_in_time_it_is_held_or_refused_as_asked() -> None:
    assert found(FOR_SIX_MINUTES, max_duration=SHORT) is Finding.UNDECIDED
    rolled_back = found(FOR_SIX_MINUTES, max_duration=SHORT, on_deadline=OnDeadline.ROLLBACK)
    assert rolled_back is Finding.OVERDUE
    assert found(FOR_SIX_MINUTES, max_duration=timedelta(minutes=7)) is Finding.STEADY


def test_a_verdict_at_the_last_moment_is_one() -> None:
    assert found(FOR_SIX_MINUTES, FINE, max_duration=SHORT) is Finding.PROVEN
    assert found(FOR_SIX_MINUTES, HARMFUL, max_duration=SHORT) is Finding.HARMFUL


def test_past_its_time_no_weight_rises() -> None:
    first = replace(FOR_SIX_MINUTES, step=1, weight=25)

    assert found(first, FINE) is Finding.FRESH_AND_FINE
    assert found(first, FINE, max_duration=SHORT) is Finding.UNDECIDED


def test_what_is_held_is_still_watched_and_never_promoted() -> None:
    assert found(HELD, FINE, max_duration=SHORT) is Finding.STEADY
    assert found(HELD, HARMFUL, max_duration=SHORT) is Finding.HARMFUL


def test_more_time_lets_it_go_on_and_less_patience_ends_it() -> None:
    assert found(HELD, max_duration=timedelta(minutes=7)) is Finding.EXTENDED
    ended = found(HELD, max_duration=SHORT, on_deadline=OnDeadline.ROLLBACK)
    assert ended is Finding.OVERDUE


def test_a_pause_takes_nothing_of_the_time() -> None:
    paused = replace(FOR_SIX_MINUTES, paused_for=timedelta(minutes=2))

    assert found(paused, max_duration=SHORT) is Finding.STEADY


@given(
    before=st.sampled_from([LAST, FOR_SIX_MINUTES, HELD, replace(LAST, step=1, weight=25)]),
    judgment=st.sampled_from([UNPROVEN, Judgment(), replace(UNPROVEN, fresh_end=None)]),
    minutes=st.integers(1, 10),
    on_deadline=st.sampled_from(OnDeadline),
    no_data=st.sampled_from(NoData),
    blind_for=st.one_of(st.none(), st.integers(0, 1200)),
)
def test_nothing_but_evidence_promotes(
    *,
    before: Progress,
    judgment: Judgment,
    minutes: int,
    on_deadline: OnDeadline,
    no_data: NoData,
    blind_for: int | None,
) -> None:
    since = None if blind_for is None else NOW - timedelta(seconds=blind_for)
    at_hand = situation(
        before,
        replace(judgment, blind_since=since),
        max_duration=timedelta(minutes=minutes),
        on_deadline=on_deadline,
        no_data=no_data,
    )
    finding = find(at_hand)
    after = advance(at_hand, finding)

    assert after.phase is not Phase.PROMOTING
    rolls_back = {on_deadline, no_data} & {OnDeadline.ROLLBACK, NoData.ROLLBACK}
    assert rolls_back or after.phase is not Phase.ROLLING_BACK
    assert after.weight in {0, before.weight} or finding is Finding.FRESH_AND_FINE


def test_silence_is_waited_for_unless_asked_otherwise() -> None:
    silent = replace(UNPROVEN, blind_since=NOW - timedelta(seconds=601))
    in_time = replace(UNPROVEN, blind_since=NOW - timedelta(seconds=600))

    assert found(LAST, silent) is Finding.STEADY
    assert found(LAST, silent, no_data=NoData.ROLLBACK) is Finding.BLIND
    assert found(LAST, in_time, no_data=NoData.ROLLBACK) is Finding.STEADY
    assert found(HELD, silent, max_duration=SHORT, no_data=NoData.ROLLBACK) is Finding.BLIND


def test_only_what_this_operator_watched_is_silence() -> None:
    counted = replace(LAST, evidence_from=NOW, counted_until=NOW + timedelta(minutes=1))
    later = NOW + timedelta(minutes=2)

    assert blind_since(LAST, Judgment(), operator_started=NOW) is None
    assert blind_since(counted, Judgment(), operator_started=NOW) == counted.counted_until
    assert blind_since(counted, Judgment(), operator_started=later) == later
    assert blind_since(counted, replace(FINE, fresh_end=later), operator_started=NOW) == later


async def on_trial(image: str = "v2", **decision: object) -> World:
    world = World()
    world.edit(decision={**SPEC["decision"], **decision})
    await world.until("Idle")
    await world.rest(passes=20)
    world.release(image)
    await world.until("Stepping")
    return world


async def test_an_undecided_challenger_keeps_its_weight_until_there_is_more_time() -> None:
    world = await on_trial(maxDuration="25s", minDuration="20s")
    await world.until("Inconclusive")
    await world.rest(passes=40)

    assert world.phase == "Inconclusive"
    assert world.replicas_seen == [0, 1]
    assert world.status["decision"].startswith("Undecided: maxDuration of 25s is over: errors")
    assert condition(world, "Stalled")["reason"] == "Undecided"
    assert condition(world, "Reconciling")["status"] == "False"
    assert "outcome" not in world.runs[0]["status"]

    world.edit(decision={**world.experiment["spec"]["decision"], "maxDuration": "24h"})
    await world.until("Promoted")

    assert [run["spec"]["attempt"] for run in world.runs] == [0]
    assert world.runs[0]["status"]["outcome"] == "Promoted"


async def test_harm_that_shows_after_the_deadline_is_still_rolled_back() -> None:
    world = await on_trial(maxDuration="25s", minDuration="20s")
    await world.until("Inconclusive")
    for pod in world.cluster.pods("shop-challenger"):
        pod["status"]["podIP"] = "bad"  # where the fake source finds the error rate
    await world.until("RolledBack")

    assert world.runs[0]["status"]["outcome"] == "RolledBack"


async def test_a_challenger_without_a_verdict_in_time_is_refused_if_so_asked() -> None:
    world = await on_trial(maxDuration="25s", minDuration="20s", onDeadline="rollback")
    await world.until("RolledBack")
    await world.rest()

    assert world.status["decision"].startswith("Rolled back without a verdict: maxDuration of 25s")
    assert world.status["reason"] == "Deadline"
    assert world.runs[0]["status"]["outcome"] == "Inconclusive"
    assert world.target["spec"]["paused"] is True
    assert world.phase == "RolledBack"


async def test_a_challenger_that_cannot_be_measured_is_refused_if_so_asked() -> None:
    world = await on_trial(noData="rollback", noDataAfter="1m")
    world.silent = True
    await world.until("RolledBack")

    assert "for more than noDataAfter of 1m nothing could be counted" in world.status["decision"]
    assert "did not answer" in world.status["decision"]
    assert world.status["reason"] == "NoData"
    assert world.runs[0]["status"]["outcome"] == "NoData"


async def test_an_operator_that_was_away_blames_nobody_for_it() -> None:
    world = await on_trial(noData="rollback", noDataAfter="1m")
    world.now += timedelta(minutes=30)
    world.die()
    await world.until("Promoted")

    assert world.runs[0]["status"]["outcome"] == "Promoted"


async def test_the_time_of_a_pause_is_remembered() -> None:
    world = await on_trial()
    until = world.status["until"]
    world.edit(paused=True)
    await world.until("Paused")
    world.now += timedelta(minutes=10)
    world.edit(paused=False)
    await world.until("Stepping")
    await world.rest(passes=2)

    assert world.status["pausedFor"].startswith("10m")
    assert world.status["until"] > until


async def test_a_pause_does_not_cut_short_the_time_in_which_nothing_counts() -> None:
    world = await on_trial()
    evidence_from = world.status["step"]["evidenceFrom"]
    world.edit(paused=True)
    await world.until("Paused")
    world.edit(paused=False)
    await world.until("Stepping")

    assert world.status["step"]["evidenceFrom"] == evidence_from


HOW_TO_TRY_AGAIN = ["git", "guardrails", "another object", "another name"]


@pytest.mark.parametrize("way", HOW_TO_TRY_AGAIN)
async def test_trying_again_until_it_passes_is_no_way_round(way: str) -> None:
    world = World()
    await world.until("Idle")
    await world.rest(passes=20)
    for attempt in range(4):
        world.release("bad")
        await world.until("RolledBack")
        needed = 100 * 2**attempt
        assert f"needed {needed}" in world.status["decision"], attempt
        await begin_again(world, way)

    risks = [2.0 ** -run["spec"]["attempt"] for run in world.runs]
    assert sum(risks) < 2
    assert [run["spec"]["attempt"] for run in world.runs] == [0, 1, 2, 3]


async def begin_again(world: World, way: str) -> None:
    """Put the champion back and let everything be as before the trial."""
    world.release("v1")
    await world.until("Idle")
    await world.rest(passes=3)
    if way == "guardrails":
        (errors,) = world.experiment["spec"]["metrics"]["guardrails"]
        margin = {"absolute": f"{float(errors['margin']['absolute'][:-1]) + 1}%"}
        metrics = {
            **world.experiment["spec"]["metrics"],
            "guardrails": [{**errors, "margin": margin}],
        }
        world.edit(metrics=metrics)
    if way.startswith("another"):
        await world.recreate("other" if way == "another name" else "trial")
        await world.until("Idle")
    await world.rest(passes=20)


EDITS: dict[str, Json] = {
    "rollbackRisk": {"rollbackRisk": "2%"},
    "promotionRisk": {"promotionRisk": "2%"},
    "bucket": {"bucket": "20s"},
    "minDuration": {"minDuration": "2m"},
    "minBuckets": {"minBuckets": 4},
}


@pytest.mark.parametrize("edit", EDITS)
async def test_another_question_discards_the_evidence_and_costs_an_attempt(edit: str) -> None:
    world = await on_trial()
    await world.rest(passes=25)
    assert world.status["samples"] > 0
    world.edit(decision={**SPEC["decision"], **EDITS[edit]})
    await world.until("Preparing")

    assert world.status["samples"] == 0
    assert "engine" not in world.status
    assert [run["spec"]["attempt"] for run in world.runs] == [0, 1]
    assert world.runs[0]["status"]["outcome"] == "Withdrawn"


@pytest.mark.parametrize(
    "edit",
    [
        {"maxDuration": "48h"},
        {"onDeadline": "rollback"},
        {"noData": "rollback"},
        {"noDataAfter": "1h"},
    ],
    ids=str,
)
def test_what_happens_without_a_verdict_is_no_part_of_the_question(edit: Json) -> None:
    edited = {**SPEC, "decision": {**SPEC["decision"], **edit}}

    assert configuration_hash(edited) == configuration_hash(SPEC)


def condition(world: World, name: str) -> Json:
    found: Json
    (found,) = [each for each in world.status["conditions"] if each["type"] == name]
    return found
