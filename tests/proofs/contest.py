"""All rules on the same streams: who errs how often, and who is how fast."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, log
from typing import Final

import numpy as np
from numpy.random import Generator

from shieldx.stats import MetricSpec, Rate
from shieldx.stats.streams import Streams
from tests.proofs.peers import (
    FixedThreshold,
    Rule,
    Signs,
    growthbook,
    growthbook_guarded,
    msprt,
    repeated_posterior,
    repeated_test,
)
from tests.proofs.traffic import Counts, Traffic, median_and_p90

OURS: Final = "**ShieldX, 1 % + 1 %**"
OURS_AT_5: Final = "**ShieldX, 2.5 % + 2.5 %**"


@dataclass
class Outcome:
    """When each run was first decided by a rule, in requests, and which way."""

    at: np.ndarray
    way: Signs
    requests: float = 0.0

    def note(self, says: Signs, requests: float) -> None:
        new = np.isinf(self.at) & (says != 0)
        self.at[new], self.way[new] = requests, says[new]

    @property
    def decided(self) -> Rate:
        return Rate(int(np.isfinite(self.at).sum()), len(self.at))

    def times(self, way: int) -> tuple[float, float]:
        """Median and p90 over all runs; one that went the other way, or nowhere, never arrives."""
        return median_and_p90(np.where(self.way == way, self.at, inf))


@dataclass
class Ours:
    """The shipped rule for both directions at once: harm one way, superiority the other."""

    streams: Streams
    risks: Mapping[str, float] = field(default_factory=lambda: {OURS: 0.01, OURS_AT_5: 0.025})

    def __call__(self, bucket: Counts) -> dict[str, Signs]:
        self.streams.update([bucket])
        harm, better = self.streams.log_e_rollback, self.streams.log_e_promotion
        worse = self.streams.metrics[0].spec.worse
        return {
            name: np.where(
                harm >= log(1.0 / risk), worse, np.where(better >= log(1.0 / risk), -worse, 0)
            )
            for name, risk in self.risks.items()
        }


def contest(
    spec: MetricSpec, buckets: Iterator[Counts], runs: int, peers: Mapping[str, Rule]
) -> dict[str, Outcome]:
    """Let all rules judge the same buckets until the end, or until ours are decided."""
    ours = Ours(Streams([spec], runs, "superiority"))
    names = [*peers, *ours.risks]
    outcomes = {name: Outcome(np.full(runs, inf), np.zeros(runs, np.int64)) for name in names}
    totals: Counts = (0.0, np.zeros(runs), 0.0, np.zeros(runs))
    for bucket in buckets:
        n_a, x_a, n_b, x_b = totals
        totals = (n_a + bucket[0], x_a + bucket[1], n_b + bucket[2], x_b + bucket[3])
        requests = totals[0] + totals[2]
        says = {name: rule(bucket, totals) for name, rule in peers.items()} | ours(bucket)
        for name, outcome in outcomes.items():
            outcome.note(says[name], requests)
    return outcomes


def table(dice: Generator, runs: int) -> str:
    """The comparison as a table for the page."""
    columns = [
        _false(dice, runs, share=0.5),
        _false(dice, runs, share=0.05),
        _false_in_a_ramp(dice, runs),
        _bad(dice, runs),
        _reference(dice, runs),
    ]
    heads = ["rule", *(head for head, _ in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    names = list(columns[0][1])
    lines += [
        "| " + " | ".join([name, *(cells[name] for _, cells in columns)]) + " |" for name in names
    ]
    return "\n".join(lines)


def _peers(runs: int, effect: float) -> dict[str, Rule]:
    return {
        "error rate above 1 % in five checks (Argo Rollouts, Flagger)": FixedThreshold(runs),
        "p < 0.05 at every look": repeated_test,
        "P(better) or P(worse) at least 95 % at every look": repeated_posterior,
        "GrowthBook sequential, 5 %": growthbook,
        "the same with its guard of 150 events": growthbook_guarded,
        "mSPRT told the true effect, 5 %": msprt(effect),
    }


def _false(dice: Generator, runs: int, share: float) -> tuple[str, dict[str, str]]:
    traffic = Traffic(runs, 250, 200)
    outcomes = contest(
        MetricSpec("errors", base_rate=0.005, mde=0.386),
        traffic.steady(dice, 0.005, 0.005, share),
        runs,
        _peers(runs, 0.00193),
    )
    head = f"identical, 0.5 % errors, {share:.0%} weight: decided by {traffic.requests:,} requests"
    return head, {name: shown(outcome.decided) for name, outcome in outcomes.items()}


def _false_in_a_ramp(dice: Generator, runs: int) -> tuple[str, dict[str, str]]:
    outcomes = contest(
        MetricSpec("errors", base_rate=0.002, mde=0.386),
        Traffic(runs, 240, 500).ramped(dice, 0.002, 1.0, 10.0),
        runs,
        _peers(runs, 0.00193),
    )
    head = "identical, 0.2 → 2 % errors while weights go 5, 25, 50 %"
    return head, {name: shown(outcome.decided) for name, outcome in outcomes.items()}


def _bad(dice: Generator, runs: int) -> tuple[str, dict[str, str]]:
    outcomes = contest(
        MetricSpec("errors", base_rate=0.005, mde=0.386),
        Traffic(runs, 500, 20).steady(dice, 0.005, 0.05),
        runs,
        _peers(runs, 0.005),
    )
    head = "5 % errors instead of 0.5 %: requests to roll-back, median / p90"
    return head, {name: _times(outcome, 1) for name, outcome in outcomes.items()}


def _reference(dice: Generator, runs: int) -> tuple[str, dict[str, str]]:
    outcomes = contest(
        MetricSpec("orders", "higher", 0.05, mde=0.112),
        Traffic(runs, 500, 400).steady(dice, 0.05, 0.0556),
        runs,
        _peers(runs, 0.0056),
    )
    outcomes[next(iter(outcomes))] = Outcome(np.full(runs, inf), np.zeros(runs, np.int64))
    head = "5.56 % conversions instead of 5 %: requests to see it, median / p90"
    return head, {name: _times(outcome, 1) for name, outcome in outcomes.items()}


def _times(outcome: Outcome, way: int) -> str:
    return " / ".join(
        f"{each:,.0f}" if np.isfinite(each) else "never" for each in outcome.times(way)
    )


def shown(rate: Rate) -> str:
    """A rate with its interval, in percent."""
    low, high = rate.interval
    return f"{100 * rate.share:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
