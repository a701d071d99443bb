"""Outages that both versions share and that hit their pods unevenly: what is left of the evidence.

No promise is made of it: noise between pods is defended against to first order, by what the
scatter of earlier buckets says. How well that does here is measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from shieldx.stats import Dispersion, Rate
from shieldx.stats.beliefs import Beliefs
from shieldx.stats.streams import Streams
from tests.proofs.contest import shown
from tests.proofs.outages import (
    ASKED,
    BEGINS,
    ENDS,
    LAST,
    LATER,
    OUTAGES,
    RECENT,
    REQUESTS,
    Course,
    Outage,
)
from tests.proofs.traffic import median_and_p90

# Buckets of the champion alone, from which the first dispersion is.
PAST: Final = 30
HEAD: Final = (
    "outage of a minute",
    "pods",
    "a twin promoted, buckets after it",
    "bad after it: rolled back, buckets",
    "a twin rolled back",
    "on the margin: promoted",
    "φ at its end",
    "φ 90 buckets later",
)


@dataclass(frozen=True, slots=True)
class Noise:
    """How unevenly pods are hit: each one's rate is gamma about the outage's.

    It is drawn for the whole outage, or in each bucket anew. `challengers` of as many champions
    as there are besides get a part of the traffic like any other pod.
    """

    name: str
    variation: float  # standard deviation of the rates of pods, in means
    lasting: bool = True
    champions: int = 4
    challengers: int = 4

    def rates(self, dice: Generator, shape: tuple[int, int], rate: float) -> np.ndarray:
        if not self.variation:
            return np.full(shape, rate)
        scale = self.variation**2
        return np.minimum(dice.gamma(1.0 / scale, scale * rate, shape), 1.0)


NOISES: Final = (
    Noise("4 and 4, alike", 0.0),
    Noise("4 and 4, CV 0.5, in each bucket anew", 0.5, lasting=False),
    Noise("4 and 4, CV 0.5", 0.5),
    Noise("4 and 4, CV 1", 1.0),
    Noise("4 and 1, CV 1", 1.0, challengers=1),
)


@dataclass(frozen=True, slots=True)
class Scattered:
    """The course of all runs, and their dispersions at the outage's end and at the last bucket."""

    course: Course
    at_the_end: np.ndarray
    later: np.ndarray


def table(dice: Generator, runs: int) -> Iterator[str]:
    """Yield the table of all outages and noises, line by line."""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---|---" + "|--:" * (len(HEAD) - 2) + "|"
    for outage in OUTAGES:
        for noise in NOISES:
            yield _row(outage, noise, dice, runs)


def _row(outage: Outage, noise: Noise, dice: Generator, runs: int) -> str:
    twins = scattered(outage, noise, dice, runs)
    bad = scattered(outage, noise, dice, runs, turns=outage.bad).course
    margin = scattered(outage, noise, dice, runs, on_margin=True).course
    cells = (
        outage.name,
        noise.name,
        _after(twins.course.promoted),
        _after(bad.rolled_back),
        shown(Rate(int(np.isfinite(twins.course.rolled_back).sum()), runs)),
        shown(Rate(int(np.isfinite(margin.promoted).sum()), runs)),
        f"{np.median(twins.at_the_end):.1f}",
        f"{np.median(twins.later):.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _after(buckets: np.ndarray) -> str:
    median, late = median_and_p90(np.maximum(buckets - LATER, 0.0))
    return " / ".join("never" if np.isinf(it) else f"{it:.0f}" for it in (median, late))


def scattered(
    outage: Outage,
    noise: Noise,
    dice: Generator,
    runs: int,
    *,
    on_margin: bool = False,
    turns: float | None = None,
    asked: dict[str, Any] = ASKED,
) -> Scattered:
    """Judge all buckets with the dispersion that the ones before show, as the operator does."""
    streams = Streams([outage.spec], runs, **asked)
    beliefs = Beliefs(outage.spec, runs, recent_buckets=RECENT)
    scatter = [Dispersion() for _ in range(runs)]
    promoted, rolled_back = np.full(runs, inf), np.full(runs, inf)
    at_the_end = np.ones(runs)
    everyone = np.ones(runs)
    each = 2 * REQUESTS // (noise.champions + noise.challengers)
    n_a, n_b = float(each * noise.champions), float(each * noise.challengers)
    for bucket, (champion, challenger) in enumerate(
        _rates(outage, noise, dice, runs, on_margin=on_margin, turns=turns), start=1 - PAST
    ):
        bad_a, bad_b = dice.binomial(each, champion), dice.binomial(each, challenger)
        if bucket > 0:
            x_a, x_b = bad_a.sum(axis=1), bad_b.sum(axis=1)
            phi = np.array([it.phi for it in scatter])
            streams.update([(n_a, x_a, n_b, x_b)], phi)
            beliefs.update((n_a * everyone, x_a * everyone, n_b * everyone, x_b * everyone))
            safe = streams.safe & beliefs.recently_within_margin(streams.metrics[0].rate)
            rolled_back[streams.harmful & np.isinf(rolled_back)] = bucket
            if bucket > LATER:
                promoted[safe & np.isinf(promoted)] = bucket
            if bucket == LATER + 1:
                at_the_end = phi
        for run, dispersion in enumerate(scatter):
            other = _by_pod(each, bad_b[run]) if bucket > 0 else {}
            dispersion.add(_by_pod(each, bad_a[run]), other)
    later = np.array([it.phi for it in scatter])
    return Scattered(Course(promoted, rolled_back), at_the_end, later)


def _rates(
    outage: Outage,
    noise: Noise,
    dice: Generator,
    runs: int,
    *,
    on_margin: bool,
    turns: float | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rates of all pods of both versions, bucket by bucket, from the past on."""
    usual, pods = outage.spec.base_rate, noise.champions + noise.challengers
    hit = noise.rates(dice, (runs, pods), outage.rate)
    for bucket in range(-PAST, LAST):
        part = max(0.0, min(bucket + 1, ENDS) - max(bucket, BEGINS))
        if not noise.lasting and part:
            hit = noise.rates(dice, (runs, pods), outage.rate)
        rates = usual + part * (hit - usual)
        champion, challenger = rates[:, : noise.champions], rates[:, noise.champions :]
        if on_margin:
            margin = outage.spec.margin_at(usual + part * (outage.rate - usual))
            challenger = np.minimum(margin.slope * challenger + margin.shift, 1.0)
        if turns is not None and bucket >= LATER:
            challenger = np.full_like(challenger, turns)
        yield champion, challenger


def _by_pod(requests: int, bad: np.ndarray) -> dict[str, tuple[float, float]]:
    return {str(pod): (requests, float(x)) for pod, x in enumerate(bad)}
