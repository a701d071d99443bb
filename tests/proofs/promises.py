"""The promises, each with the measurement that could refute it.

A promise about a rate counts as broken where the 95 % interval of the measured rate lies above
the bound; one about a median or a time where the measured one is above it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, log

import numpy as np
from numpy.random import Generator

from shieldx.stats import MetricSpec, Rate, requests_to_decide
from shieldx.stats.eprocess import Floats
from shieldx.stats.planning import Race, race
from shieldx.stats.streams import Streams
from tests.proofs.bursts import false_rollbacks
from tests.proofs.contest import OURS, OURS_AT_5, contest, shown
from tests.proofs.costs import cost_of_a_bucket
from tests.proofs.latency import requests_to_see_slowness
from tests.proofs.mirrored import NO_WORSE, joint, requests_of_pairs
from tests.proofs.outages import ASKED, LAST, LATER, OUTAGES, WITHOUT, course
from tests.proofs.peers import growthbook, msprt
from tests.proofs.traffic import Counts, Traffic, median_and_p90

NEVER = 1e-300  # a risk at which that verdict cannot come: the other one is looked at alone


@dataclass(frozen=True, slots=True)
class Finding:
    """One measurement of a promise."""

    promise: int
    what: str
    asked: str
    measured: str
    holds: bool


type Proof = Callable[[Generator, int], Iterator[Finding]]


def at_most(promise: int, what: str, rate: Rate, bound: float) -> Finding:
    """Hold a rate against its bound."""
    holds = rate.interval[0] <= bound
    return Finding(promise, what, f"≤ {100 * bound:g} %", shown(rate), holds)


def requests_at_most(promise: int, what: str, requests: float, bound: float) -> Finding:
    return Finding(promise, what, f"≤ {bound:,.0f}", f"{requests:,.0f}", requests <= bound)


def lone(
    spec: MetricSpec,
    buckets: Iterator[Counts],
    traffic: Traffic,
    *,
    rollback_risk: float = 0.01,
    promotion_risk: float = 0.01,
) -> Race:
    """Run one metric to its verdicts."""
    streams = Streams(
        [spec], traffic.runs, rollback_risk=rollback_risk, promotion_risk=promotion_risk
    )
    return race(streams, ([bucket] for bucket in buckets), traffic.runs)


def twins_are_left_alone(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 1: identical versions, at any schedule of looks."""
    effects = {0.001: 0.6, 0.005: 0.386, 0.05: 0.112, 0.5: 0.025, 0.99: 0.00236, 0.999: 0.00065}
    for rate, effect in effects.items():
        spec = MetricSpec("m", "higher" if rate >= 0.5 else "lower", rate, mde=effect)
        outcome = contest(spec, Traffic(runs, 500, 200).steady(dice, rate, rate), runs, {})
        what = f"identical at {100 * rate:g} %, half and half, 500 looks, 100,000 requests"
        yield at_most(1, f"{what}: any decision", outcome[OURS].decided, 0.02)
        back = Rate(int((outcome[OURS].way == spec.worse).sum()), runs)
        yield at_most(1, f"{what}: rolled back", back, 0.01)
    spec = MetricSpec("m", base_rate=0.005, mde=0.386)
    outcome = contest(spec, Traffic(runs, 500, 400).steady(dice, 0.005, 0.005, 0.05), runs, {})
    yield at_most(1, "0.5 % at 5 % weight: any decision", outcome[OURS].decided, 0.02)
    outcome = contest(spec, Traffic(runs, 5000, 2).steady(dice, 0.005, 0.005), runs, {})
    yield at_most(1, "5,000 looks, one after each two requests", outcome[OURS].decided, 0.02)
    outcome = contest(spec, Traffic(runs, 240, 500).ramped(dice, 0.002, 1.0, 10.0), runs, {})
    yield at_most(1, "0.2 → 2 % while weights go 5, 25, 50 %", outcome[OURS].decided, 0.02)
    for what, back in five_guardrails(dice, runs):
        yield at_most(1, what, back, 0.01)


def five_guardrails(dice: Generator, runs: int) -> Iterator[tuple[str, Rate]]:
    specs = [MetricSpec(str(number), base_rate=0.005) for number in range(5)]
    traffic = Traffic(runs, 200, 400)
    for what, alike in (("independent", False), ("the same", True)):
        streams = Streams(specs, runs, promotion_risk=NEVER)
        sources = [traffic.steady(dice, 0.005, 0.005) for _ in specs]
        rows = ([row] * 5 for row in sources[0]) if alike else zip(*sources, strict=True)
        yield f"five guardrails, {what}: rolled back", race(streams, rows, runs).rollbacks


def nobody_on_the_margin_passes(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 2: the truth exactly on the margin, where the bound is tightest."""
    points = MetricSpec("m", base_rate=0.005, margin_rel=0.0, margin_abs=0.005)
    quarter = MetricSpec("m", base_rate=0.05)
    double = MetricSpec("m", base_rate=0.002, margin_rel=1.0)
    steady, ramp = Traffic(runs, 250, 200), Traffic(runs, 240, 500)
    for what, spec, buckets, traffic in (
        ("0.5 % + 0.5 points", points, steady.steady(dice, 0.005, 0.01), steady),
        ("1.25 times 5 %", quarter, steady.steady(dice, 0.05, 0.0625), steady),
        ("twice 0.2 → 2 %, weights 5, 25, 50 %", double, ramp.ramped(dice, 0.002, 2.0, 10.0), ramp),
    ):
        passed = lone(spec, buckets, traffic, rollback_risk=NEVER).promotions
        yield at_most(2, f"{what}: promoted", passed, 0.01)


def effects_are_found(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 3: superiority at the reference effect, and faster than peers on the same data."""
    effects = {0.005: 0.386, 0.05: 0.112, 0.5: 0.025, 0.99: 0.00236, 0.999: 0.00065}
    for rate, effect in effects.items():
        better = rate * (1.0 + effect)
        spec = MetricSpec("m", "higher", rate, mde=effect)
        outcome = contest(
            spec,
            Traffic(runs, 500, 400).steady(dice, rate, better),
            runs,
            {"mSPRT": msprt(better - rate), "GrowthBook": growthbook},
        )
        what = f"{100 * rate:g} → {100 * better:.4g} %"
        for name, risks, bound in ((OURS, "2 %", 60_000), (OURS_AT_5, "5 %", 45_000)):
            median = outcome[name].times(1)[0]
            yield requests_at_most(3, f"{what}, {risks} in all: median", median, bound)
        ours, others = outcome[OURS_AT_5].times(1), ("mSPRT", "GrowthBook")
        theirs = {name: outcome[name].times(1) for name in others}
        yield Finding(
            3,
            f"{what}: median and p90 against peers at 5 %",
            "; ".join(f"{name} {_k(times)}" for name, times in theirs.items()),
            _k(ours),
            all(ours[0] <= median and ours[1] <= late for median, late in theirs.values()),
        )


def bad_ones_go_quickly(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 4: requests to roll-back, looks every 20 requests."""
    errors, one = MetricSpec("m", base_rate=0.005), MetricSpec("m", base_rate=0.01)
    half, little = Traffic(runs, 250, 20), Traffic(runs, 200, 100)
    times = _rolled_back(errors, half.steady(dice, 0.005, 0.05), half)
    yield requests_at_most(4, "0.5 → 5 %, half and half: median", times[0], 750)
    yield requests_at_most(4, "0.5 → 5 %, half and half: p90", times[1], 1300)
    times = _rolled_back(errors, little.steady(dice, 0.005, 0.05, 0.05), little)
    challengers = 0.05 * times[0]
    yield requests_at_most(4, "0.5 → 5 % at 5 % weight: the challenger's, median", challengers, 150)
    twice = Traffic(runs, 400, 100)
    times = _rolled_back(one, twice.steady(dice, 0.01, 0.02), twice)
    yield requests_at_most(4, "1 → 2 %, half and half: median", times[0], 8000)


def _rolled_back(
    spec: MetricSpec, buckets: Iterator[Counts], traffic: Traffic
) -> tuple[float, float]:
    seen = lone(spec, buckets, traffic, promotion_risk=NEVER)
    return median_and_p90(traffic.per_look * seen.rolled_back)


def good_ones_pass(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 5: an identical canary, 0.5 % errors, + 0.5 points allowed."""
    spec = MetricSpec("m", base_rate=0.005, margin_rel=0.0, margin_abs=0.005)
    traffic = Traffic(runs, 500, 100)
    seen = lone(spec, traffic.steady(dice, 0.005, 0.005), traffic)
    median = median_and_p90(traffic.per_look * seen.promoted)[0]
    yield requests_at_most(5, "0.5 %, + 0.5 points: median to promotion", median, 10_000)
    share = seen.promotions
    yield Finding(
        5, "the same: promoted by 50,000", "≥ 98 %", shown(share), share.interval[1] >= 0.98
    )


def pairs_are_quick(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 6: mirrored requests whose outcomes correlate at 0.7."""
    effect = requests_of_pairs(dice, runs, joint(0.05, 0.0444, 0.7), 40_000)
    median = median_and_p90(effect)[0]
    yield requests_at_most(6, "pairs, 5 → 4.44 %, correlation 0.7: median", median, 11_000)
    effect = requests_of_pairs(dice, runs, joint(0.05, 0.0556, 0.7), 40_000, NO_WORSE)
    median = median_and_p90(effect)[0]
    yield requests_at_most(6, "pairs, 5 → 5.56 %, correlation 0.7: median", median, 11_000)
    none = requests_of_pairs(dice, runs, joint(0.05, 0.05, 0.7), 50_000)
    false = Rate(int(np.isfinite(none).sum()), runs)
    yield at_most(6, "pairs, identical: superiority in 50,000", false, 0.01)


def bursts_are_not_blamed(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 7: bursts on single pods, with counts by pod."""
    defended, undefended = false_rollbacks(dice, runs)
    yield at_most(7, "bursts of one bucket on single pods, phi learnt", defended, 0.02)
    yield Finding(7, "the same without phi (no promise)", "-", shown(undefended), holds=True)


def slowness_is_found(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 8: latency from the default buckets of Prometheus's clients."""
    slower = requests_to_see_slowness(dice, runs, 1.5, 4000)
    yield requests_at_most(
        8, "all requests take 1.5 times as long: median", median_and_p90(slower)[0], 800
    )
    same = requests_to_see_slowness(dice, runs, 1.0, 20_000)
    false = Rate(int(np.isfinite(same).sum()), runs)
    yield at_most(8, "as slow as the champion: rolled back in 20,000", false, 0.01)


def it_is_cheap_and_exact(dice: Generator, _: int) -> Iterator[Finding]:
    """Promise 9: time, state, restarts."""
    cost = cost_of_a_bucket(dice)
    yield Finding(
        9,
        "a metric a bucket, processor time: median",
        "≤ 1 ms",
        f"{1e3 * cost.seconds:.2f} ms",
        cost.seconds <= 1e-3,
    )
    yield Finding(9, "state a metric", "≤ 2,048 bytes", f"{cost.state:,}", cost.state <= 2048)
    what = f"a restart and a replay at each of {cost.buckets} buckets"
    yield Finding(9, what, "the same state", "exact" if cost.exact else "differs", cost.exact)


def plans_come_true(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 10: the plan's median within 15 % of the simulated one."""
    points = MetricSpec("m", base_rate=0.005, margin_rel=0.0, margin_abs=0.005)
    cases: Sequence[tuple[str, MetricSpec, str, float, int]] = (
        ("non-inferiority, 0.5 % + 0.5 points", points, "noninferiority", 0.005, 100),
        (
            "non-inferiority, 1.25 times 5 %",
            MetricSpec("m", base_rate=0.05),
            "noninferiority",
            0.05,
            100,
        ),
        ("harm, 1 → 2 %", MetricSpec("m", base_rate=0.01), "harm", 0.02, 50),
        (
            "superiority, 5 → 4.44 %",
            MetricSpec("m", base_rate=0.05, mde=0.112),
            "superiority",
            0.0444,
            400,
        ),
    )
    for what, spec, evidence, challenger, per_look in cases:
        traffic = Traffic(runs, 500, per_look)
        buckets = traffic.steady(dice, spec.base_rate, challenger)
        if evidence == "harm":
            median = _rolled_back(spec, buckets, traffic)[0]
        elif evidence == "noninferiority":
            seen = lone(spec, buckets, traffic, rollback_risk=NEVER)
            median = median_and_p90(per_look * seen.promoted)[0]
        else:
            median = contest(spec, buckets, runs, {})[OURS].times(-1)[0]
        plan = requests_to_decide(spec, evidence, challenger_rate=challenger)  # type: ignore[arg-type]  # one of the three
        off = exp(abs(log(plan / median))) - 1.0 if median < inf else inf
        yield Finding(
            10,
            f"{what}: planned {plan:,.0f}, simulated {median:,.0f}",
            "within 15 %",
            f"{100 * off:.0f} %",
            off <= 0.15,
        )


def outages_cost_little(dice: Generator, runs: int) -> Iterator[Finding]:
    """Beside the promises: a minute that is bad for both versions, judged as the operator asks."""
    for outage in OUTAGES:
        what, quiet = outage.name, outage.quiet()
        usual, _ = median_and_p90(course(quiet, quiet.buckets(dice, runs), runs).promoted)
        yield _soon_again(
            f"{what}: buckets from its end to a twin's promotion",
            usual,
            *(
                course(outage, outage.buckets(dice, runs), runs, asked=asked).promoted - LATER
                for asked in (ASKED, WITHOUT)
            ),
        )
        turned = quiet.buckets(dice, runs, turns=outage.bad)
        usual, _ = median_and_p90(course(quiet, turned, runs).rolled_back - LATER)
        yield _soon_again(
            f"{what}; then {100 * outage.bad:g} % of the challenger's: buckets to roll-back",
            usual,
            *(
                course(
                    outage, outage.buckets(dice, runs, turns=outage.bad), runs, asked=asked
                ).rolled_back
                - LATER
                for asked in (ASKED, WITHOUT)
            ),
        )
        twin = course(outage, outage.buckets(dice, runs), runs).rolled_back
        back = Rate(int(np.isfinite(twin).sum()), runs)
        yield at_most(11, f"{what}: a twin rolled back in {LAST} buckets", back, 0.01)
        marginal = course(outage, outage.buckets(dice, runs, on_margin=True), runs).promoted
        passed = Rate(int(np.isfinite(marginal).sum()), runs)
        yield at_most(11, f"{what}; challenger on the margin: promoted", passed, 0.01)
    yield from _as_asked_without_outage(dice, runs)


def _soon_again(what: str, usual: float, times: Floats, without: Floats) -> Finding:
    """Hold the median after an outage to twice what it is without one."""
    median, late = median_and_p90(times)
    before = [f"{each:g}" if each < inf else "never" for each in median_and_p90(without)]
    return Finding(
        11,
        f"{what}, median",
        f"≤ 2 x {usual:g}, as without outage",
        f"{median:g} (p90 {late:g}; without a reserve {' / '.join(before)})",
        median <= 2.0 * usual,
    )


def _as_asked_without_outage(dice: Generator, runs: int) -> Iterator[Finding]:
    """Promise 5 again, with all that the operator asks for."""
    spec = MetricSpec("m", base_rate=0.005, margin_rel=0.0, margin_abs=0.005)
    traffic = Traffic(runs, 500, 100)
    buckets = ([row] for row in traffic.steady(dice, 0.005, 0.005))
    seen = race(Streams([spec], runs, **ASKED), buckets, runs)
    what = "0.5 %, + 0.5 points, no outage, a tenth kept back"
    median = median_and_p90(traffic.per_look * seen.promoted)[0]
    yield requests_at_most(11, f"{what}: median to promotion", median, 10_000)
    share = seen.promotions
    holds = share.interval[1] >= 0.98
    yield Finding(11, f"{what}: promoted by 50,000", "≥ 98 %", shown(share), holds)


PROOFS: Sequence[Proof] = (
    twins_are_left_alone,
    nobody_on_the_margin_passes,
    effects_are_found,
    bad_ones_go_quickly,
    good_ones_pass,
    pairs_are_quick,
    bursts_are_not_blamed,
    slowness_is_found,
    it_is_cheap_and_exact,
    plans_come_true,
)


def _k(times: tuple[float, float]) -> str:
    return " / ".join(f"{each / 1000:.1f}k" if each < inf else "never" for each in times)
