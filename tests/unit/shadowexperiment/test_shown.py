"""What status says of the evidence: fractions of what is needed, and what is missing, in bounds."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from controllers.shadowexperiment.shown import Flow, Risks, Shown, shown
from shieldx.judgement.beginning import MOST_BOUNDARIES
from shieldx.judgement.engine import Engine
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.signals.buckets import Bucket, MetricBucket
from shieldx.signals.states import EvidenceReason, EvidenceState
from shieldx.stats import RESTARTS, DecisionEngine, Dispersion, MetricSpec, requests_missing
from tests.support.crds import load_crds, nodes, schema_of
from tests.support.experiments import SPEC, World
from tests.unit.shadowexperiment.test_findings import METRIC, REPORT

ERRORS = MetricSpec("errors", base_rate=0.01, margin_rel=0.0, margin_abs=0.01)
RISKS = Risks(rollback=0.01, promotion=0.01)
BUSY = {"errors": Flow(champion=80.0, challenger=20.0)}


def errors(flows: dict[str, Flow] = BUSY, before: tuple[Shown, ...] = (), **facts: object) -> Shown:
    metric = replace(METRIC, **facts)  # type: ignore[arg-type] # by name.
    report = replace(REPORT, metrics={"errors": metric, "restarts": METRIC})
    return shown([ERRORS, RESTARTS], report, RISKS, flows, before)[0]


def test_evidence_is_shown_as_a_part_of_what_is_needed() -> None:
    entry = errors(log_e_harm=math.log(200) / 2, log_e_noninferiority=math.log(10))

    assert (entry["evidenceOfSafety"], entry["towardPromotion"]) == ("10", "50%")
    # Alone among two metrics of the same weight it needs twice as much for a roll-back.
    assert entry["towardRollback"] == "50%"


@pytest.mark.parametrize(("log_e", "toward"), [(-3.0, "0%"), (4.7, "100%"), (60.0, "100%")])
def test_a_part_is_between_nothing_and_all(log_e: float, toward: str) -> None:
    assert errors(log_e_noninferiority=log_e)["towardPromotion"] == toward


def test_what_is_missing_is_told_in_requests_and_at_the_present_traffic() -> None:
    half = errors(log_e_noninferiority=math.log(10), interval=(0.8, 1.25))
    none = errors(log_e_noninferiority=0.0, interval=(0.8, 1.25))

    assert none["missing"]["requests"] == pytest.approx(2 * half["missing"]["requests"], abs=2)
    seconds = half["missing"]["requests"] / 100
    assert half["missing"]["time"] in {f"{math.ceil(seconds)}s", f"{math.ceil(seconds) // 60}m"} | {
        f"{math.ceil(seconds) // 60}m{math.ceil(seconds) % 60}s"
    }
    assert half["missing"]["message"].endswith("at the present 100.0 a second")


def test_what_cannot_be_told_is_not_told() -> None:
    worse = errors(log_e_noninferiority=0.0, interval=(2.5, 4.0))["missing"]
    quiet = errors({}, log_e_noninferiority=0.0)["missing"]
    enough = errors(log_e_noninferiority=5.0)["missing"]
    lately = errors(log_e_noninferiority=5.0, probability_worse_than_margin_recent=0.5)["missing"]

    assert worse == {"message": "evidence does not grow as both versions are now"}
    assert "time" not in quiet
    assert "none come in" in quiet["message"]
    assert enough == {"requests": 0, "time": "0s", "message": "nothing is missing"}
    assert lately == {"message": "the last minDuration alone looks worse than the margin"}


def test_counts_that_are_noisier_take_longer() -> None:
    noisy = {"errors": Flow(champion=80.0, challenger=20.0, phi=3.0)}
    plain, thrice = (errors(f, log_e_noninferiority=0.0)["missing"] for f in (BUSY, noisy))

    assert thrice["requests"] == pytest.approx(3 * plain["requests"], abs=3)


def test_traffic_is_that_of_the_last_buckets_not_of_the_newest_alone() -> None:
    before = errors()
    burst = {"errors": Flow(champion=800.0, challenger=200.0)}

    assert before["requestsPerSecond"] == "100.0"
    assert errors(burst, (before,))["requestsPerSecond"] == "280.0"
    assert errors({}, (before,))["requestsPerSecond"] == "100.0"


def test_restarts_only_roll_back() -> None:
    report = replace(REPORT, metrics={"errors": METRIC, "restarts": METRIC})
    restarts = shown([ERRORS, RESTARTS], report, RISKS, BUSY, ())[1]

    assert not {"evidenceOfSafety", "towardPromotion", "missing"} & restarts.keys()
    assert "evidenceOfHarm" in restarts


def test_what_is_said_to_be_missing_is_what_it_takes() -> None:
    """The mean of many runs at the rates that are told is within a third of what is told."""
    dice = np.random.default_rng(20261126)
    takes = []
    for _ in range(40):
        engine = DecisionEngine([ERRORS])
        for bucket in range(1, 2000):
            bad = dice.binomial(400, 0.01), dice.binomial(100, 0.01)
            report = engine.update([(400, bad[0], 100, bad[1])], float(bucket))
            if report.metrics["errors"].log_e_noninferiority >= math.log(100):
                takes.append(500 * bucket)
                break
    told = requests_missing(
        ERRORS,
        "noninferiority",
        0.0,
        champion_rate=0.01,
        challenger_rate=0.01,
        risk=0.01,
        share=0.2,
    )

    assert told == pytest.approx(np.mean(takes), rel=1 / 3)


def test_the_state_of_ten_guardrails_stays_small_however_long_a_run() -> None:
    guardrail = SPEC["metrics"]["guardrails"][0]
    names = [f"guardrail-with-a-long-name-{i:03}" for i in range(10)]
    many = [{**guardrail, "name": name} for name in names]
    decision = {**SPEC["decision"], "minDuration": "720h", "maxDuration": "720h"}
    spec = ShadowExperimentSpec.parse(
        {**SPEC, "metrics": {**SPEC["metrics"], "guardrails": many}, "decision": decision}
    )
    engine = Engine.begin(
        spec, 3, dict.fromkeys(names, 0.0123456), {n: Dispersion() for n in names}
    )
    dice = np.random.default_rng(7)
    for number in range(200):
        counts = [float(n) for n in dice.integers(1, 10**9, 4)]
        counts[1], counts[3] = min(counts[:2]), min(counts[2:])
        champion = {"a": (counts[0] / 2, counts[1] / 2), "b": (counts[0] / 2, counts[1] / 2)}
        metric = MetricBucket(
            champion,
            {"c": (counts[2], counts[3])},
            (counts[0], counts[1], counts[2], counts[3]),
            EvidenceState.SUFFICIENT,
            EvidenceReason.COUNTED,
            "",
        )
        end = 1.8e9 + 10 * number
        bucket = Bucket(end - 10, end, dict.fromkeys(names, metric), (2, 0, 1, 0))
        report = engine.update(spec, bucket)

    assert len(engine.dump()) <= 2048 * len(report.metrics)


async def test_status_shows_only_what_the_definition_describes() -> None:
    world = World()
    await world.until("Idle")
    await world.rest(passes=20)
    world.release("v2")
    await world.until("Stepping")
    await world.rest(passes=30)
    described = {
        path.removeprefix(".status.metrics[].")
        for path, _ in nodes(schema_of(load_crds()["ShadowExperiment"]))
        if path.startswith(".status.metrics[].")
    }

    seen = {path for entry in world.status["metrics"] for path in paths(entry)}
    assert seen == described
    assert len(json.dumps(world.status["metrics"][0])) < 1024


def test_a_record_has_room_for_every_metric_that_there_can_be() -> None:
    kinds = load_crds()
    sizes = {
        (kind, path): node["maxItems"]
        for kind in ("ShadowExperiment", "ExperimentRun")
        for path, node in nodes(schema_of(kinds[kind]))
        if "maxItems" in node
    }
    most = sizes["ShadowExperiment", ".spec.metrics.guardrails"] * MOST_BOUNDARIES + 1

    assert sizes["ExperimentRun", ".status.metrics"] >= most


def paths(entry: Shown, prefix: str = "") -> set[str]:
    found = set()
    for key, value in entry.items():
        found.add(f"{prefix}{key}")
        if isinstance(value, dict):
            found |= paths(value, f"{prefix}{key}.")
    return found
