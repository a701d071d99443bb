"""phi tells noise between pods from noise of coins."""

import json

import numpy as np
import pytest

from shieldx.stats import Dispersion
from shieldx.stats.dispersion import WIDTHS, spread_between

NOBODY: dict[str, tuple[float, float]] = {}


def pods(*bad: float, n: float = 1000) -> dict[str, tuple[float, float]]:
    return {f"pod-{index}": (n, count) for index, count in enumerate(bad)}


def test_nothing_seen_is_no_dispersion() -> None:
    assert Dispersion().phi == 1.0


def test_the_spread_is_the_sum_of_squares_over_its_binomial_expectation() -> None:
    spread = spread_between([(1000, 10), (3000, 50)])

    rate = 60 / 4000
    assert spread.squares == pytest.approx((10 - 15) ** 2 + (50 - 45) ** 2)
    assert spread.expected == pytest.approx(
        rate * (1 - rate) * 4000 / 3999 * (1000 * 0.75 + 3000 * 0.25)
    )
    assert spread.freedom == 1


@pytest.mark.parametrize(
    "alone",
    [[], [(500, 3)], [(500, 0), (500, 0)], [(500, 500), (400, 400)], [(0, 0), (500, 3)]],
)
def test_what_cannot_differ_says_nothing(alone: list[tuple[float, float]]) -> None:
    assert spread_between(alone).freedom == 0


def test_a_pod_with_a_single_request_counts_like_any_other() -> None:
    assert spread_between([(1, 1), (500, 3)]).freedom == 1
    assert spread_between([(1, 1), (500, 3), (0, 0)]) == spread_between([(1, 1), (500, 3)])


def test_a_window_adds_up_what_each_pod_counted_in_it_and_nothing_else() -> None:
    champion, challenger = (
        {"a": (1000.0, 10.0), "b": (3000.0, 50.0)},
        {"c": (5.0, 1.0), "d": (9.0, 0.0)},
    )
    dispersion = Dispersion()

    for _ in range(8):
        dispersion.add(champion, challenger)

    one, eight, sixty_four = dispersion.sums
    arms = [champion.values(), challenger.values()]
    assert one.squares == pytest.approx(8 * sum(spread_between(arm).squares for arm in arms))
    together = [[(8 * n, 8 * bad) for n, bad in arm] for arm in arms]
    assert eight.squares == pytest.approx(sum(spread_between(arm).squares for arm in together))
    assert eight.expected == pytest.approx(sum(spread_between(arm).expected for arm in together))
    assert (one.freedom, eight.freedom, sixty_four.freedom) == (16, 2, 0)


def test_pods_that_fail_in_turns_are_noisy() -> None:
    dispersion = Dispersion()

    for bucket in range(16):
        dispersion.add(pods(*(30 if pod == bucket % 3 else 3 for pod in range(3))), NOBODY)

    assert dispersion.phi > 10


def test_bursts_longer_than_a_bucket_weigh_more_than_one_bucket_shows() -> None:
    """Each bucket looks harmless; eight in a row of one pod add up."""
    dispersion = Dispersion()

    for bucket in range(64):
        dispersion.add(pods(*(16 if pod == bucket // 8 % 3 else 10 for pod in range(3))), NOBODY)

    one, eight, _ = dispersion.sums
    assert one.squares / one.expected < 1.5
    assert eight.squares / eight.expected == dispersion.phi > 7


def test_the_present_bucket_is_not_asked() -> None:
    dispersion = Dispersion()
    for _ in range(8):
        dispersion.add(pods(5, 6, 5), NOBODY)
    before = dispersion.phi

    dispersion.add(pods(500, 0, 0), NOBODY)

    assert before == 1.0
    assert dispersion.phi > 10


def test_too_few_windows_say_nothing_yet() -> None:
    dispersion = Dispersion()

    for _ in range(7):
        dispersion.add(pods(100, 0), NOBODY)
    early = dispersion.phi
    dispersion.add(pods(100, 0), NOBODY)

    assert early == 1.0
    assert dispersion.phi > 50


def test_a_difference_between_the_arms_is_not_noise() -> None:
    dispersion = Dispersion()

    for _ in range(64):
        dispersion.add(pods(5, 5, 5), pods(50, 50, 50))

    assert dispersion.phi == 1.0


def test_pods_may_come_and_go() -> None:
    dispersion = Dispersion()

    for bucket in range(64):
        dispersion.add({f"pod-{bucket // 5}": (900, 5), f"pod-{bucket // 5 + 1}": (800, 4)}, NOBODY)

    assert dispersion.phi == pytest.approx(1.0, abs=0.3)


def test_coins_are_not_noisy() -> None:
    """Binomial pods, fresh dice: phi above 1.5 after 640 buckets of 4 + 2 pods.

    The widest window has 40 degrees of freedom: chi2(40)/40 > 1.5 in 2 % of runs, and all of
    20 runs above it in 1e-30; more than 8 of 20 has a chance below 1e-8.
    """
    seed = np.random.SeedSequence().entropy
    dice = np.random.default_rng(seed)
    noisy = 0
    for _ in range(20):
        dispersion = Dispersion()
        for row in dice.binomial(500, 0.02, size=(640, 6)):
            dispersion.add(pods(*row[:4], n=500), pods(*row[4:], n=500))
        noisy += dispersion.phi > 1.5

    assert noisy <= 8, f"{noisy} of 20, seed {seed}"


def test_a_restart_keeps_the_sums_and_drops_the_open_windows() -> None:
    dispersion = Dispersion()
    for bucket in range(12):
        dispersion.add(pods(5 + bucket, 6, 5), pods(4, 7))

    loaded = Dispersion.load(json.loads(json.dumps(dispersion.dump())))

    assert loaded.sums == dispersion.sums
    assert loaded.phi == dispersion.phi
    for _ in range(7):
        loaded.add(pods(5, 6, 5), NOBODY)
    assert loaded.sums[1] == dispersion.sums[1]
    loaded.add(pods(5, 6, 5), NOBODY)
    assert loaded.sums[1].freedom == dispersion.sums[1].freedom + 2


def test_a_state_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=f"is {3 * len(WIDTHS)} numbers, got 2"):
        Dispersion.load([1.0, 2.0])
