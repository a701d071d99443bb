"""The split of traffic: a coin of known bias, watched without end."""

import json
from math import nan

import numpy as np
import pytest
from scipy.stats import binom

from shieldx.stats import SampleRatio


@pytest.mark.parametrize("share", [0.05, 0.37, 0.5])
@pytest.mark.parametrize("n", [1, 7, 12])
def test_where_the_split_is_the_asked_one_evidence_is_one_on_average(share: float, n: int) -> None:
    challenger = np.arange(n + 1)
    e_values = []
    for n_b in challenger:
        ratio = SampleRatio()
        ratio.add(float(n - n_b), float(n_b), share)
        e_values.append(np.exp(ratio.log_e))

    assert binom.pmf(challenger, n, share) @ np.array(e_values) == pytest.approx(1.0, abs=1e-12)


def test_a_split_as_asked_for_is_no_mismatch_whatever_the_steps() -> None:
    """Risk 10 % in 200 runs: more than 41 mismatches have a chance of 1e-6."""
    seed = np.random.SeedSequence().generate_state(1)[0]
    dice = np.random.default_rng(seed)
    called = 0
    for _ in range(200):
        ratio = SampleRatio(risk=0.1)
        for bucket in range(60):
            share = (0.05, 0.25, 0.5)[bucket // 20]
            n_b = int(dice.binomial(1000, share))
            ratio.add(1000 - n_b, n_b, share)
        called += ratio.mismatch

    assert called <= binom.isf(1e-6, 200, 0.1), f"{called} of 200, seed {seed}"


def test_a_tenth_of_the_challengers_requests_lost_is_a_mismatch_for_good() -> None:
    ratio = SampleRatio()
    for _ in range(20):
        ratio.add(800, 180, 0.2)
    found = ratio.mismatch

    for _ in range(2000):
        ratio.add(800, 200, 0.2)

    assert found
    assert ratio.mismatch
    assert ratio.log_e < 0.0


def test_its_state_survives_a_restart() -> None:
    ratio = SampleRatio()
    ratio.add(800, 150, 0.2)

    again = SampleRatio.load(json.loads(json.dumps(ratio.dump())))
    ratio.add(10, 20, 0.3)
    again.add(10, 20, 0.3)

    assert again.dump() == ratio.dump()


def test_a_mismatch_is_not_forgotten_by_a_restart() -> None:
    ratio = SampleRatio()
    for share in (180, *[200] * 60):
        ratio.add(800, share, 0.2)
    for _ in range(20):
        ratio.add(800, 100, 0.2)
    for _ in range(4000):
        ratio.add(800, 200, 0.2)

    again = SampleRatio.load(json.loads(json.dumps(ratio.dump())))

    assert again.log_e < 0.0
    assert again.mismatch
    assert not SampleRatio.load(SampleRatio().dump()).mismatch


def test_a_restart_asks_with_the_risk_that_it_is_given() -> None:
    ratio = SampleRatio(risk=0.001)
    while ratio.log_e < 3.0:
        ratio.add(800, 160, 0.2)

    lenient = SampleRatio.load(ratio.dump(), risk=0.5)
    lenient.add(1, 0, 0.2)

    assert not ratio.mismatch
    assert lenient.mismatch


def test_a_mismatch_is_evidence_of_one_over_the_risk() -> None:
    watched = SampleRatio()
    watched.add(800, 150, 0.2)
    risk = float(np.exp(-watched.log_e))

    for factor, mismatch in ((1.01, True), (0.99, False)):
        ratio = SampleRatio(risk=risk * factor)
        ratio.add(800, 150, 0.2)
        assert ratio.mismatch is mismatch
    assert SampleRatio().mismatch is False


def test_all_or_nothing_is_a_split_as_well() -> None:
    for n_champion, n_challenger, share in ((500, 0, 0.0), (0, 500, 1.0)):
        asked, swapped = SampleRatio(), SampleRatio()
        asked.add(n_champion, n_challenger, share)
        swapped.add(n_challenger, n_champion, share)

        assert not asked.mismatch
        assert swapped.mismatch


def test_what_is_no_split_or_no_risk_is_refused() -> None:
    for split in ((-1.0, 5.0, 0.2), (5.0, nan, 0.2), (5.0, 5.0, 1.2)):
        with pytest.raises(ValueError, match="no split"):
            SampleRatio().add(*split)
    for risk in (0.0, 1.0):
        with pytest.raises(ValueError, match="risk"):
            SampleRatio(risk=risk)
