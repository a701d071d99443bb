"""Histograms: every boundary guards, the one at the quantile decides."""

from typing import Any

import numpy as np
import pytest

from shieldx.stats import (
    DecisionEngine,
    HistogramSpec,
    Verdict,
    boundary_metrics,
    boundary_name,
    histogram_of,
    named_under,
    telling_of,
)

BOUNDARIES = (0.05, 0.1, 0.25, 0.5, 1.0)
CHAMPION = (5000.0, 8000.0, 9400.0, 9900.0, 9999.0, 10000.0)
LATENCY = HistogramSpec("latency", BOUNDARIES, CHAMPION)
NINE = dict(zip("ah!fgebdc", (0.8, 0.1, 0.05, 0.3, 0.2, 0.4, 0.7, 0.5, 0.6), strict=True))


def test_the_boundary_nearest_the_quantile_decides() -> None:
    p99 = HistogramSpec("latency", BOUNDARIES, CHAMPION, quantile=0.99)

    assert BOUNDARIES[LATENCY.deciding] == 0.25
    assert BOUNDARIES[p99.deciding] == 0.5
    assert [spec.name for spec in LATENCY.metrics if not spec.harm_only] == ["latency<=0.25"]


def test_half_of_the_weight_is_the_deciding_ones_and_the_others_share_the_rest() -> None:
    specs = HistogramSpec("latency", BOUNDARIES, CHAMPION, weight=2.0).metrics

    assert [spec.weight for spec in specs] == pytest.approx([1 / 3, 1 / 3, 1.0, 1 / 3])
    assert [spec.base_rate for spec in specs] == pytest.approx([0.5, 0.2, 0.06, 0.01], rel=1e-2)
    assert sum(spec.weight for spec in specs) == pytest.approx(2.0)


def test_boundaries_that_tell_nothing_are_left_out_but_one_always_decides() -> None:
    all_below = HistogramSpec("latency", BOUNDARIES, (10_000.0,) * 6)

    assert [spec.name for spec in all_below.metrics] == ["latency<=0.05"]
    assert all_below.metrics[0].weight == 1.0
    assert LATENCY.telling == (0, 1, 2, 3)


def test_of_999_requests_one_must_differ_from_the_others_for_a_boundary_to_tell_anything() -> None:
    shares = {"none": 0.9995, "half": 0.5, "all": 0.0005}
    one_each = HistogramSpec("latency", (0.1, 0.2, 0.4), (1.0, 500.0, 998.0, 999.0))
    none = HistogramSpec("latency", (0.1, 0.2, 0.4), (0.0, 500.0, 999.0, 999.0))

    assert none.slower == (0.9995, 0.4995, 0.0005)
    assert none.telling == (1,)
    assert one_each.telling == (0, 1, 2)
    assert telling_of(shares, 0.5, 10) == {"half": 0.5}


def test_the_share_of_slower_requests_is_of_all_and_half_a_request_off_none_and_all() -> None:
    spec = HistogramSpec("latency", (0.1, 0.2, 0.4), (0.0, 6.0, 8.0, 10.0))

    assert spec.slower == pytest.approx((10.5 / 11, 4.5 / 11, 2.5 / 11))
    assert len(spec.slower) == len(spec.boundaries)


def test_each_boundary_is_asked_what_the_histogram_is_asked() -> None:
    asked = HistogramSpec(
        "latency", BOUNDARIES, CHAMPION, margin_rel=0.5, margin_abs=0.02, tolerance_rel=0.1
    ).metrics

    assert {(spec.margin_rel, spec.margin_abs, spec.tolerance_rel) for spec in asked} == {
        (0.5, 0.02, 0.1)
    }


@pytest.mark.parametrize(
    ("margins", "tolerance"), [((0.44, 0.0), 0.2), ((0.0, 0.15), 1.0), ((0.44, 0.15), 1.0)]
)
def test_without_a_tolerance_it_is_half_way_to_the_looser_margin_where_it_is_decided(
    margins: tuple[float, float], tolerance: float
) -> None:
    shares = {"latency<=0.1": 0.2, "latency<=0.5": 0.05}
    relative, absolute = margins

    specs = boundary_metrics(
        shares, 0.95, margin_rel=relative, margin_abs=absolute, tolerance_rel=None
    )

    assert [spec.tolerance_rel for spec in specs] == pytest.approx([tolerance] * 2)
    assert [spec.margin_abs for spec in specs] == [absolute] * 2
    assert sum(spec.weight for spec in specs) == 1.0


def test_a_tolerance_of_nothing_is_one() -> None:
    (spec,) = boundary_metrics(
        {"latency<=0.1": 0.2}, 0.95, margin_rel=0.44, margin_abs=0.0, tolerance_rel=0.0
    )

    assert spec.tolerance_rel == 0.0


def test_metrics_are_named_after_their_histogram_and_boundary() -> None:
    names = ["errors", "latency", "latency<=0.1", "latency-cold<=0.1", "latency<=2.5"]

    assert [boundary_name("latency", le) for le in (0.1, 2.5, 10.0)] == [
        "latency<=0.1",
        "latency<=2.5",
        "latency<=10",
    ]
    assert [histogram_of(name) for name in names[:4]] == [
        "errors",
        "latency",
        "latency",
        "latency-cold",
    ]
    assert named_under("latency", names) == ["latency<=0.1", "latency<=2.5"]
    assert named_under("errors", names) == []


class TestTooManyBoundaries:
    """Eight besides the deciding one, `!`, which is least by share and not the first to come."""

    @pytest.mark.parametrize(
        ("most", "kept"),
        [
            (20, "hgfedcba"),
            (9, "hgfedcba"),
            (8, "hfdb"),
            (5, "hfdb"),
            (4, "heb"),
            (3, "hd"),
            (2, "h"),
        ],
    )
    def test_every_so_many_by_share_is_kept_and_the_deciding_one(
        self, most: int, kept: str
    ) -> None:
        told = telling_of(NINE, 0.95, most)

        assert sorted(told) == sorted([*kept, "!"])
        assert len(told) <= most
        assert list(told.items()) == [each for each in NINE.items() if each[0] in told]

    def test_the_deciding_one_alone_is_kept_whatever_it_tells(self) -> None:
        assert telling_of({"only": 0.0}, 0.95, 2) == {"only": 0.0}


def test_a_bucket_without_requests_has_rows_of_nothing() -> None:
    assert LATENCY.counts((0,) * 6, (0,) * 6) == [(0, 0, 0, 0)] * 4


def test_rows_are_requests_and_those_slower_than_each_boundary() -> None:
    rows = LATENCY.counts((50, 80, 94, 99, 100, 100), (20, 60, 90, 99, 100, 101))

    assert rows == [(100, 50, 101, 81), (100, 20, 101, 41), (100, 6, 101, 11), (100, 1, 101, 2)]
    assert LATENCY.counts((50, 80, 94, 99, 100, 103), (0,) * 6)[0] == (103, 53, 0, 0)


def test_a_slower_tail_is_found_although_the_quantile_did_not_move() -> None:
    engine = DecisionEngine(LATENCY.metrics)
    slow_tail = (50, 80, 94, 96, 97, 100)

    for end in range(40):
        report = engine.update(LATENCY.counts((50, 80, 94, 99, 100, 100), slow_tail), end)

    assert report.verdict is Verdict.ROLLBACK
    assert report.blame == "latency<=0.5"


def test_an_equal_one_is_promoted_by_the_deciding_boundary_alone() -> None:
    spec = HistogramSpec("latency", BOUNDARIES, CHAMPION, margin_rel=0.5)
    engine = DecisionEngine(spec.metrics)
    same = tuple(round(n / 20) for n in CHAMPION)

    for end in range(60):
        report = engine.update(spec.counts(same, same), end)

    assert report.verdict is Verdict.PROMOTE


def test_all_requests_half_as_slow_again_are_rolled_back_soon() -> None:
    """Median over 40 runs, 50 requests an arm and bucket; the true median is about 500 requests.

    A median beyond 1,600 has a chance below 1e-6.
    """
    seed = np.random.SeedSequence().generate_state(1)[0]
    dice = np.random.default_rng(seed)

    def bucket(slower: float) -> tuple[float, ...]:
        seconds = dice.lognormal(np.log(0.05 * slower), 1.0, 50)
        return (*(float((seconds <= le).sum()) for le in BOUNDARIES), 50.0)

    def requests() -> float:
        engine = DecisionEngine(LATENCY.metrics)
        for end in range(100):
            verdict = engine.update(LATENCY.counts(bucket(1.0), bucket(1.5)), end).verdict
            if verdict is Verdict.ROLLBACK:
                return 100.0 * (end + 1)
        return np.inf

    assert np.median([requests() for _ in range(40)]) <= 1600, f"seed {seed}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boundaries": ()}, "ascend"),
        ({"boundaries": (0.1, 0.1)}, "ascend"),
        ({"boundaries": (0.1, np.inf)}, "ascend"),
        ({"quantile": 0.0}, "quantile is between"),
        ({"quantile": 1.0}, "quantile is between"),
        ({"champion": (1.0, 2.0)}, "one count per boundary"),
        ({"champion": (5.0, 4.0, 6.0, 7.0, 8.0, 9.0)}, "do not fall"),
        ({"champion": (1.0, 2.0, 3.0, 4.0, 5.0, np.nan)}, "finite"),
    ],
)
def test_what_is_no_histogram_is_refused(change: dict[str, Any], message: str) -> None:
    asked = {"boundaries": BOUNDARIES, "champion": CHAMPION, **change}

    with pytest.raises(ValueError, match=f"latency: .*{message}"):
        HistogramSpec("latency", **asked)
    with pytest.raises(ValueError, match=r"latency: .* do not fall"):
        LATENCY.counts(CHAMPION, (9.0, 8.0, 9.0, 9.0, 9.0, 9.0))
