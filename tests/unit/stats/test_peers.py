"""The peers' rules in `tests.proofs` are theirs: values that their own packages test for."""

import numpy as np
import pytest

from tests.proofs.peers import (
    FixedThreshold,
    growthbook_interval,
    log_normal_mixture,
    msprt,
    repeated_test,
)


def test_the_normal_mixture_is_the_one_of_confseq() -> None:
    """Two-sided normal mixture, tuned to variance 100 at 5 %: its unit test's numbers."""
    rho = 12.60056

    assert log_normal_mixture(10.0, 100.0, rho) == pytest.approx(-0.6510052, abs=1e-5)
    assert log_normal_mixture(30.35209, 100.0, rho) == pytest.approx(np.log(20.0), abs=1e-5)


def test_the_sequential_interval_is_the_one_of_growthbook() -> None:
    """1,396 of 3,000 against 2,422 of 3,461: the interval in the unit tests of `gbstats`."""
    lift, width = growthbook_interval((3000.0, np.array([1396]), 3461.0, np.array([2422])))

    assert lift[0] == pytest.approx(0.50386, abs=1e-5)
    assert (lift - width)[0] == pytest.approx(0.40098, abs=1e-5)
    assert (lift + width)[0] == pytest.approx(0.60675, abs=1e-5)


def test_rules_say_which_way() -> None:
    nothing = (0.0, np.zeros(3), 0.0, np.zeros(3))
    totals = (5000.0, np.array([250, 250, 250]), 5000.0, np.array([150, 252, 350]))

    assert repeated_test(nothing, totals).tolist() == [-1, 0, 1]
    assert msprt(0.02)(nothing, totals).tolist() == [-1, 0, 1]


def test_a_threshold_fails_after_five_bad_checks() -> None:
    rule = FixedThreshold(2)
    bucket = (500.0, np.array([0, 0]), 500.0, np.array([4, 6]))

    said = [rule(bucket, bucket).tolist() for _ in range(5)]

    assert said[3:] == [[0, 0], [0, 1]]
