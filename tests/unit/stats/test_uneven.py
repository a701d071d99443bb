"""The measurement of outages that hit pods unevenly sees what it is about."""

import numpy as np
import pytest

from tests.proofs.outages import OUTAGES
from tests.proofs.uneven import NOISES, Noise, scattered

ALIKE, ANEW, _, LASTING, _ = NOISES
RUNS = 20


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.name)
def test_pods_have_the_rate_of_the_outage_on_average_and_as_much_scatter_as_is_said(
    noise: Noise,
) -> None:
    rates = noise.rates(np.random.default_rng(1), (20_000, 8), 0.05)

    assert rates.mean() == pytest.approx(0.05, rel=0.02)
    assert rates.std() / rates.mean() == pytest.approx(noise.variation, abs=0.02)


def test_pods_that_are_hit_alike_show_no_dispersion() -> None:
    seen = scattered(OUTAGES[0], ALIKE, np.random.default_rng(2), RUNS)

    assert np.median(seen.at_the_end) < 1.5
    assert not np.isfinite(seen.course.rolled_back).any()


def test_pods_that_are_hit_unevenly_show_it_and_the_longer_the_more() -> None:
    anew, lasting = (
        np.median(scattered(OUTAGES[0], noise, np.random.default_rng(3), RUNS).at_the_end)
        for noise in (ANEW, LASTING)
    )

    assert 2.0 < anew < lasting


def test_a_version_that_turns_bad_is_rolled_back_and_its_twin_is_not() -> None:
    dice = np.random.default_rng(4)

    bad = scattered(OUTAGES[0], ALIKE, dice, RUNS, turns=OUTAGES[0].bad)

    assert np.isfinite(bad.course.rolled_back).mean() > 0.9
