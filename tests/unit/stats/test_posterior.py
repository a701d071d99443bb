"""What is reported beside the verdict is what the textbook says."""

from math import exp, log

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, norm

from shieldx.stats.posterior import Posterior, Strata, probability_of_more

type Four = tuple[float, float, float, float]


def belief(*buckets: Four, phi: float = 1.0) -> Posterior:
    strata = Strata()
    for counts in buckets:
        strata = strata.plus(counts, phi)
    return Posterior.of(strata)


def test_the_sums_are_mantel_and_haenszels_with_greenland_and_robins_variance() -> None:
    strata = Strata().plus((900, 44, 100, 6), 1.0).plus((500, 26, 500, 20), 1.0)

    assert strata.numerator == pytest.approx(6 * 900 / 1000 + 20 * 500 / 1000)
    assert strata.denominator == pytest.approx(44 * 100 / 1000 + 26 * 500 / 1000)
    assert strata.spread == pytest.approx(
        (50 * 900 * 100 - 44 * 6 * 1000) / 1000**2 + (46 * 500 * 500 - 26 * 20 * 1000) / 1000**2
    )


def test_the_sums_of_two_stretches_are_those_of_both() -> None:
    one, two = Strata().plus((900, 44, 100, 6), 1.0), Strata().plus((500, 26, 400, 20), 2.0)
    both = Strata().plus((900, 44, 100, 6), 1.0).plus((500, 26, 400, 20), 2.0)

    assert one + two == both
    assert both.n_a == 1400
    assert both.n_b == 500
    assert both.spread == pytest.approx(one.spread + two.spread)
    assert two.numerator == pytest.approx(20 * 500 / 900 / 2.0)


def test_the_interval_leaves_out_two_and_a_half_percent_at_either_end() -> None:
    low, high = belief((900, 44, 100, 6), (500, 26, 400, 20)).interval

    assert belief((900, 44, 100, 6), (500, 26, 400, 20)).probability_above(low) == pytest.approx(
        0.975
    )
    assert belief((900, 44, 100, 6), (500, 26, 400, 20)).probability_above(high) == pytest.approx(
        0.025
    )


def test_a_noisy_bucket_tells_less_of_everything_but_how_many_there_were() -> None:
    plain, noisy = (Strata().plus((900, 44, 100, 6), phi) for phi in (1.0, 4.0))

    assert noisy.numerator == pytest.approx(plain.numerator / 4.0)
    assert noisy.denominator == pytest.approx(plain.denominator / 4.0)
    assert noisy.spread == pytest.approx(plain.spread / 4.0)
    assert (noisy.n_a, noisy.n_b) == (plain.n_a, plain.n_b)


def test_the_belief_is_the_prior_and_the_estimate_weighed_by_their_precision() -> None:
    pseudo = 100 * 50 / 150**2
    numerator, denominator = 3.0 + pseudo, 4.0 + pseudo
    precision = numerator * denominator / (1.5 + pseudo)

    belief = Posterior.of(Strata(3.0, 4.0, 1.5, 100.0, 50.0))

    assert belief.deviation == pytest.approx((precision + 1.0) ** -0.5)
    assert belief.mean == pytest.approx(
        precision * log(numerator / denominator) / (precision + 1.0)
    )


def test_a_single_request_is_data_and_none_is_not() -> None:
    assert belief((1, 0, 500, 5)) != belief()
    assert belief((500, 5, 1, 0)) != belief()
    assert belief((0, 0, 500, 5)) == belief((500, 5, 0, 0)) == belief()


def test_without_data_it_is_the_prior() -> None:
    nothing = belief()

    assert nothing.probability_above(1.0) == pytest.approx(0.5)
    assert nothing.interval == pytest.approx((exp(-1.96), exp(1.96)), rel=1e-3)
    assert belief((100, 5, 0, 0)) == nothing


@pytest.mark.parametrize(
    "counts",
    [(2000, 40, 1000, 31), (5000, 25, 5000, 20), (9500, 480, 500, 20), (800, 400, 700, 330)],
)
def test_one_stratum_agrees_with_the_exact_beta_posterior(counts: Four) -> None:
    n_a, x_a, n_b, x_b = counts
    of_a, of_b = beta(x_a + 0.5, n_a - x_a + 0.5), beta(x_b + 0.5, n_b - x_b + 0.5)
    rates = np.linspace(0.0, 1.0, 200_001)
    exact = float(np.trapezoid(of_a.cdf(rates) * of_b.pdf(rates), rates))

    assert belief(counts).probability_above(1.0) == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [((100, 5), (80, 9)), ((10, 0), (10, 1)), ((1000, 990), (1000, 980)), ((3, 0), (100_000, 1))],
)
def test_of_one_bucket_the_belief_is_exact(
    champion: tuple[float, float], challenger: tuple[float, float]
) -> None:
    (n_a, x_a), (n_b, x_b), p0 = champion, challenger, 0.01
    of_a, of_b = beta(x_a + p0, n_a - x_a + 1 - p0), beta(x_b + p0, n_b - x_b + 1 - p0)
    exact = quad(lambda u: of_b.sf(of_a.ppf(u)), 0.0, 1.0, limit=2000, epsabs=1e-12)[0]

    more = probability_of_more(champion, challenger, p0)

    assert more == pytest.approx(exact, abs=1e-9)
    assert probability_of_more(challenger, champion, p0) == pytest.approx(1.0 - more, abs=1e-9)


def test_an_arm_without_events_is_believed_within_reason() -> None:
    assert 0.8 < 1.0 - belief((1000, 5, 1000, 0)).probability_above(1.0) < 0.99
    assert 0.4 < belief((950, 5, 50, 0)).probability_above(1.0) < 0.55
    assert belief((1000, 0, 1000, 0)).probability_above(1.0) == pytest.approx(0.5)


def test_a_base_rate_that_drifts_while_the_weight_rises_fakes_no_effect() -> None:
    buckets = [(950.0, 950 * rate, 50.0, 50 * rate) for rate in (0.001, 0.002)] + [
        (500.0, 500 * rate, 500.0, 500 * rate) for rate in (0.02, 0.04)
    ]
    pooled = np.array(buckets).sum(axis=0)

    assert pooled[3] / pooled[2] > 1.8 * pooled[1] / pooled[0]
    assert belief(*buckets).mean == pytest.approx(0.0, abs=1e-9)


def test_dispersion_widens_the_belief() -> None:
    sharp, wide = belief((1000, 50, 1000, 80)), belief((1000, 50, 1000, 80), phi=4.0)

    assert wide.deviation > 1.7 * sharp.deviation


def test_the_losses_are_the_tails_means() -> None:
    about = Posterior(mean=0.1, deviation=0.4)
    density = norm(0.1, 0.4).pdf

    excess = quad(lambda z: (exp(z) - 1.0) * density(z), 0.0, 5.0)[0]
    shortfall = quad(lambda z: (1.0 - exp(z)) * density(z), -5.0, 0.0)[0]

    assert about.expected_excess() == pytest.approx(excess, rel=1e-6)
    assert about.expected_shortfall() == pytest.approx(shortfall, rel=1e-6)
    assert about.probability_above(2.0) == pytest.approx(1.0 - norm.cdf((log(2.0) - 0.1) / 0.4))
    assert about.probability_above(0.0) == 1.0


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """400 experiments of 20 buckets under ramp and drift, truth 1.3; fresh dice.

    True coverage is 94 % or more; fewer than 350 of 400 has then a chance below 1e-6.
    """
    seed = np.random.SeedSequence().entropy
    dice = np.random.default_rng(seed)
    covered = 0
    for _ in range(400):
        strata = Strata()
        for bucket in range(20):
            rate, share = 0.01 + 0.002 * bucket, (0.05, 0.25, 0.5)[bucket // 7]
            n_b = round(2000 * share)
            x_a, x_b = dice.binomial(2000 - n_b, rate), dice.binomial(n_b, 1.3 * rate)
            strata = strata.plus((2000 - n_b, float(x_a), n_b, float(x_b)), 1.0)
        low, high = Posterior.of(strata).interval
        covered += low <= 1.3 <= high

    assert covered >= 350, f"{covered} of 400, seed {seed}"
