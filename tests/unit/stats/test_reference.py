"""The engine against a slow twin that is written straight from the formulas, in plain loops."""

from dataclasses import dataclass, field
from math import exp, expm1, floor, inf, log, log2

import numpy as np
import pytest
from scipy.optimize import brentq

from shieldx.stats import DecisionEngine, MetricSpec

type Four = tuple[float, float, float, float]


def log_e(counts: Four, theta: float, delta: float, line: tuple[float, float], side: int) -> float:
    (n_a, x_a, n_b, x_b), (ratio, shift) = counts, line
    theta_b = theta * exp(delta) / (1.0 + theta * expm1(delta))
    if side * (theta_b - (ratio * theta + shift)) <= 0.0:
        return 0.0

    def score(a: float) -> float:
        b = ratio * a + shift
        of_a, of_b = (a - theta) / (a * (1.0 - a)), (b - theta_b) / (b * (1.0 - b))
        return float(n_a * of_a + ratio * n_b * of_b)

    low, high = max(0.0, -shift / ratio), min(1.0, (1.0 - shift) / ratio)
    a = brentq(score, low + 1e-12, high - 1e-12, xtol=1e-16)
    b = ratio * a + shift
    return float(
        x_a * log(theta / a)
        + (n_a - x_a) * log((1.0 - theta) / (1.0 - a))
        + x_b * log(theta_b / b)
        + (n_b - x_b) * log((1.0 - theta_b) / (1.0 - b))
    )


def logit(p: float) -> float:
    return log(p / (1.0 - p))


def divergence(p: float, q: float) -> float:
    return sum(a * log(a / b) for a, b in ((p, q), (1.0 - p, 1.0 - q)) if a > 0.0)


@dataclass
class Twin:
    """One metric where lower is better."""

    spec: MetricSpec
    cut: float
    kept: float = 0.0
    sums: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        p0, spec = self.spec.base_rate, self.spec
        looser = max((1.0 + spec.margin_rel) * p0, p0 + spec.margin_abs)
        margin = logit(looser) - logit(p0)
        effect = 0.1 if spec.mde is None else logit(p0) - logit(p0 * (1.0 - spec.mde))
        count = floor(log2(log(64.0) / (effect / 2.0))) + 1
        grid = [-effect / 2.0 * 2**j for j in range(count)]
        share = 1.0 if spec.mde is None else 0.3
        self.mixtures = [
            [(0.05 * 2**j, w / 21.0) for j, w in enumerate((1, 1, 2, 3, 5, 5, 3, 1))],
            [(margin * m, w) for m, w in ((0.0, 0.6), (0.4, 0.2), (-0.5, 0.1), (-1.5, 0.1))],
            [(delta, share / count) for delta in grid]
            + ([] if spec.mde is None else [(-effect, 0.7)]),
        ]
        self.heeds = self.kept > 0.0
        self.sums = [[log(1.0 - self.kept)] * len(mixture) for mixture in self.mixtures]
        self.events, self.requests = 200.0 * p0, 200.0

    def update(self, counts: Four, phi: float, *, restarted: bool) -> None:
        theta, spec = self.events / self.requests, self.spec
        relative = (1.0 + spec.margin_rel) * theta >= theta + spec.margin_abs
        margin = (1.0 + spec.margin_rel, 0.0) if relative else (1.0, spec.margin_abs)
        lines = [((1.0 + spec.tolerance_rel, 0.0), 1), (margin, -1), ((1.0, 0.0), -1)]
        for process, (mixture, (line, side)) in enumerate(zip(self.mixtures, lines, strict=True)):
            for part, (delta, _) in enumerate(mixture):
                gain = log_e(counts, theta, delta, line, side) / phi
                gain = min(gain, self.cut)
                if process == 1 and restarted:
                    gain = min(gain, 0.0)
                self.sums[process][part] += gain
        if self.heeds and divergence(counts[1] / counts[0], theta) * counts[0] / phi > 10.0:
            self.requests = min(self.requests, counts[0] / 4.0)
            self.events = theta * self.requests
            self.kept /= 2.0
            self.sums = [[log(exp(each) + self.kept) for each in sums] for sums in self.sums]
        forget = 0.5 ** (1.0 / 60.0)
        self.events = forget * self.events + counts[1]
        self.requests = forget * self.requests + counts[0]

    def log_e(self) -> list[float]:
        return [
            log(
                self.kept + sum(w * exp(total) for (_, w), total in zip(mixture, sums, strict=True))
            )
            for mixture, sums in zip(self.mixtures, self.sums, strict=True)
        ]


@pytest.mark.parametrize(
    "spec",
    [
        MetricSpec("plain"),
        MetricSpec("double", base_rate=0.02, margin_rel=1.0, tolerance_rel=0.4),
        MetricSpec("points", base_rate=0.005, margin_rel=0.0, margin_abs=0.015, tolerance_rel=1.0),
        MetricSpec("both", base_rate=0.03, margin_rel=0.5, margin_abs=0.012, mde=0.2),
        MetricSpec("half", base_rate=0.5, margin_rel=0.05, mde=0.05),
    ],
    ids=lambda spec: spec.name,
)
@pytest.mark.parametrize("share", [1.0, 1 / 3])
@pytest.mark.parametrize("reserve", [0.0, 0.3])
def test_the_evidence_is_the_formulas(spec: MetricSpec, share: float, reserve: float) -> None:
    seed = np.random.SeedSequence().generate_state(1)[0]
    dice = np.random.default_rng(seed)
    engine = DecisionEngine([spec], bucket_share=share, reserve=reserve)
    twin = Twin(spec, cut=log(100.0) / 3.0 if share < 1.0 else inf, kept=reserve)

    for bucket in range(8):
        n_a, n_b = (int(n) for n in dice.integers(20, 1500, size=2))
        rate = min(0.9, spec.base_rate * dice.uniform(0.5, 2.0) + 0.3 * (bucket == 3))
        counts = (n_a, int(dice.binomial(n_a, rate)), n_b, int(dice.binomial(n_b, rate)))
        phi, restarted = float(dice.uniform(1.0, 3.0)), bool(dice.random() < 0.3)
        report = engine.update([(*counts, phi)], bucket, challenger_restarted=restarted)
        twin.update(counts, phi, restarted=restarted)

        metric = report.metrics[spec.name]
        assert [
            metric.log_e_harm,
            metric.log_e_noninferiority,
            metric.log_e_superiority,
        ] == pytest.approx(twin.log_e(), abs=1e-6), f"seed {seed}, bucket {bucket}"
