"""What is done about a ledger and said of it, case by case."""

from datetime import timedelta
from typing import Any

import pytest

from controllers.creditledger.plan import LATER, SOON, Plan, Reason, Workload, news, plan
from tests.support.ledgers import NAMES, NOW, SETTINGS, observed, spec

STARTING = Workload(wanted=1, ready=0, current=True)
ROLLING = Workload(wanted=2, ready=2, current=False)


def planned(fields: dict[str, Any] | None = None, **facts: Any) -> Plan:
    return plan(NAMES, spec(**(fields or {})), observed(**facts), SETTINGS, NOW)


def condition(todo: Plan, kind: str) -> tuple[str, str, str]:
    found = next(c for c in todo.status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"], found["message"]


def test_everything_is_applied_on_every_pass() -> None:
    first, later = planned(shards={}, api=None, keeper=None), planned()

    assert first.apply == later.apply
    assert [shard.name for shard in first.passwords] == ["s0"]
    assert len({(m["kind"], m["metadata"]["name"]) for m in later.apply}) == len(later.apply)


def test_a_ledger_that_is_up_says_where_it_answers_and_rests() -> None:
    todo = planned(positions={"s0": 41})

    assert condition(todo, "Ready")[0] == "True"
    assert condition(todo, "Reconciling")[0] == "False"
    assert condition(todo, "Stalled")[0] == "False"
    assert todo.status["api"] == {"url": "http://credits-api.bank.svc:5004", "readyReplicas": 2}
    assert todo.status["summary"] == {"shards": "1/1", "api": "2/2"}
    assert todo.status["shards"][0]["position"] == 41
    assert todo.check_again == LATER


@pytest.mark.parametrize(
    ("facts", "kind", "status", "reason"),
    [
        ({"shards": {}}, "ShardsReady", "False", Reason.SHARD_DOWN),
        ({"shards": {"s0": STARTING}}, "ShardsReady", "False", Reason.SHARD_DOWN),
        ({"shards": {"s0": STARTING}}, "Ready", "False", Reason.STARTING),
        ({"api": None}, "ApiAvailable", "False", Reason.API_DOWN),
        ({"api": STARTING}, "Ready", "False", Reason.STARTING),
        ({"api": ROLLING}, "Ready", "True", Reason.READY),
        ({"api": ROLLING}, "Reconciling", "True", Reason.ROLLING),
        ({"keeper": STARTING}, "Ready", "True", Reason.READY),
        ({"keeper": None}, "Reconciling", "True", Reason.ROLLING),
        ({"api": STARTING, "trouble": "pod x"}, "Ready", "False", Reason.PODS_FAIL),
        ({"trouble": "pod x"}, "Ready", "True", Reason.READY),
        ({"trouble": "pod x"}, "Stalled", "True", Reason.PODS_FAIL),
        ({"api": None, "taken": "Service y"}, "Ready", "False", Reason.NAME_TAKEN),
        ({"taken": "Service y"}, "Stalled", "True", Reason.NAME_TAKEN),
    ],
)
def test_a_condition_follows_what_is_seen(
    facts: dict[str, Any], kind: str, status: str, reason: Reason
) -> None:
    assert condition(planned(**facts), kind)[:2] == (status, reason)


def test_what_is_not_up_is_looked_at_again_soon() -> None:
    assert planned(api=STARTING).check_again == SOON


def test_the_message_of_a_ledger_that_cannot_start_is_the_pods_own() -> None:
    todo = planned(shards={"s0": STARTING}, trouble="pod credits-s0-0: ImagePullBackOff")

    assert "pod credits-s0-0: ImagePullBackOff" in condition(todo, "Ready")[2]


def test_a_paused_ledger_is_left_alone_and_says_so() -> None:
    todo = planned({"paused": True})

    assert (todo.apply, todo.passwords) == ((), ())
    assert condition(todo, "Ready")[:2] == ("Unknown", Reason.PAUSED)
    assert "until it is false" in condition(todo, "Ready")[2]


def test_every_condition_says_which_generation_it_is_about() -> None:
    todo = planned()

    assert {c["observedGeneration"] for c in todo.status["conditions"]} == {3}
    assert todo.status["observedGeneration"] == 3


def test_an_unchanged_world_gives_an_unchanged_status() -> None:
    before = planned().status

    again = plan(
        NAMES,
        spec(),
        observed(conditions=before["conditions"]),
        SETTINGS,
        NOW + timedelta(hours=1),
    )

    assert again.status == before


def test_a_transition_time_moves_with_the_status_only() -> None:
    before = planned(api=STARTING).status["conditions"]

    after = plan(
        NAMES, spec(), observed(conditions=before), SETTINGS, NOW + timedelta(minutes=1)
    ).status["conditions"]

    moved = {c["type"] for c in after if c["lastTransitionTime"] == "2026-01-02T03:05:05Z"}
    assert moved == {"Ready", "ApiAvailable", "Reconciling"}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (None, {"api": STARTING}, None),
        (None, {}, "Ready"),
        ({"api": STARTING}, {}, "Ready"),
        ({}, {}, None),
        ({}, {"api": STARTING}, "Starting"),
        ({"api": STARTING}, {"api": STARTING, "trouble": "x"}, "PodsFail"),
    ],
)
def test_there_is_an_event_for_each_turn_and_for_nothing_else(
    before: dict[str, Any] | None, after: dict[str, Any], reason: str | None
) -> None:
    was = [] if before is None else planned(**before).status["conditions"]

    told = news(was, planned(conditions=was, **after).status)

    assert (told and told.reason) == reason
