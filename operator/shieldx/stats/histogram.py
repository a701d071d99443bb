"""Latency from histograms: "slower than a boundary" is an event, and events are what is judged.

Counts at a boundary are exact, nothing is interpolated. "The p95 got worse" is "more requests
are slower than the boundary nearest the champion's p95": that boundary decides about a promotion
and has half of the say in a roll-back. The other half is spread evenly over the boundaries that
can tell anything, so that a change in any part of the distribution is seen: an average of
e-values is an e-value, whatever they have to do with each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Final

from shieldx.stats.eprocess import clip_rate, log_odds
from shieldx.stats.metric import MetricSpec, half_way_tolerance

_AT_MOST: Final = "<="
# A boundary that more, or fewer, requests of the champion exceed tells next to nothing.
_TELLING: Final = (0.0005, 0.9995)


@dataclass(frozen=True, slots=True)
class HistogramSpec:
    """A histogram metric, where slower is worse, as metrics of one boundary each.

    boundaries  the finite upper bounds (`le`), ascending
    champion    its cumulative counts before the first bucket: one per boundary, then the total
    quantile    which quantile of the champion the deciding boundary is nearest to
    margin_…    how many more requests beyond the deciding boundary still count as the same
    weight      the say of all boundaries together

    ValueError for boundaries or counts that are no histogram.
    """

    name: str
    boundaries: tuple[float, ...]
    champion: tuple[float, ...]
    quantile: float = 0.95
    margin_rel: float = 0.25
    margin_abs: float = 0.0
    tolerance_rel: float = 0.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.boundaries or not all(
            low < high for low, high in pairwise((*self.boundaries, float("inf")))
        ):
            raise ValueError(f"{self.name}: boundaries are finite and ascend")
        if not 0.0 < self.quantile < 1.0:
            raise ValueError(f"{self.name}: quantile is between 0 and 1, got {self.quantile}")
        _check(self.name, self.boundaries, self.champion)

    @property
    def slower(self) -> tuple[float, ...]:
        """The share of the champion's requests slower than each boundary, never 0 or 1."""
        total = self.champion[-1]
        return tuple((total - n + 0.5) / (total + 1.0) for n in self.champion[:-1])

    @property
    def deciding(self) -> int:
        """The index of the boundary nearest the champion's quantile, by log-odds."""
        return deciding_of(dict(enumerate(self.slower)), self.quantile)

    @property
    def telling(self) -> tuple[int, ...]:
        """The indices of the boundaries that are judged, the deciding one among them."""
        return tuple(
            index
            for index, share in enumerate(self.slower)
            if index == self.deciding or _TELLING[0] < share < _TELLING[1]
        )

    @property
    def metrics(self) -> list[MetricSpec]:
        """The metrics for the engine, one per telling boundary, named `name<=boundary`."""
        shares = {
            boundary_name(self.name, self.boundaries[index]): self.slower[index]
            for index in self.telling
        }
        return boundary_metrics(
            shares,
            self.quantile,
            margin_rel=self.margin_rel,
            margin_abs=self.margin_abs,
            tolerance_rel=self.tolerance_rel,
            weight=self.weight,
        )

    def counts(
        self, champion: Sequence[float], challenger: Sequence[float]
    ) -> list[tuple[float, float, float, float]]:
        """Return the rows for `metrics` from one bucket's cumulative counts of either arm.

        ValueError where counts fall from one boundary to the next.
        """
        for arm in (champion, challenger):
            _check(self.name, self.boundaries, arm)
        n_a, n_b = champion[-1], challenger[-1]
        return [
            (n_a, n_a - champion[index], n_b, n_b - challenger[index]) for index in self.telling
        ]


def boundary_name(name: str, boundary: float) -> str:
    """Return the name of the metric of one boundary of a histogram."""
    return f"{name}{_AT_MOST}{boundary:g}"


def histogram_of(metric: str) -> str:
    """Return the name of the histogram that a metric is a boundary of; itself, if of none."""
    return metric.partition(_AT_MOST)[0]


def named_under(name: str, metrics: Iterable[str]) -> list[str]:
    """Return which of the metrics are boundaries of the histogram of that name."""
    return [it for it in metrics if it != name and histogram_of(it) == name]


def deciding_of[Key](shares: Mapping[Key, float], quantile: float) -> Key:
    """Return whose share of slower requests is nearest to that of the quantile, by log-odds."""
    asked = log_odds(1.0 - quantile)
    return min(shares, key=lambda key: abs(log_odds(clip_rate(shares[key])) - asked))


def telling_of[Key](shares: Mapping[Key, float], quantile: float, most: int) -> dict[Key, float]:
    """Return the shares that can tell anything, at most so many, the deciding one among them.

    Of more than that every second, or third, is left out: neighbours tell much the same.
    """
    deciding = deciding_of(shares, quantile)
    others = sorted(
        (key for key in shares if key != deciding and _TELLING[0] < shares[key] < _TELLING[1]),
        key=lambda key: shares[key],
    )
    kept = {*others[:: max(1, -(-len(others) // (most - 1)))], deciding}
    return {key: share for key, share in shares.items() if key in kept}


def boundary_metrics(
    shares: Mapping[str, float],
    quantile: float,
    *,
    margin_rel: float,
    margin_abs: float,
    tolerance_rel: float | None,
    weight: float = 1.0,
) -> list[MetricSpec]:
    """Return the metrics of boundaries, from the champion's share of slower requests by name.

    The one nearest the quantile decides. Without a tolerance it is half-way to its margin.
    """
    deciding, others = deciding_of(shares, quantile), len(shares) - 1
    if tolerance_rel is None:
        tolerance_rel = half_way_tolerance(shares[deciding], margin_rel, margin_abs)
    return [
        MetricSpec(
            name,
            base_rate=share,
            margin_rel=margin_rel,
            margin_abs=margin_abs,
            tolerance_rel=tolerance_rel,
            weight=weight * _part(others, decides=name == deciding),
            harm_only=name != deciding,
        )
        for name, share in shares.items()
    ]


def _part(others: int, *, decides: bool) -> float:
    if not others:
        return 1.0
    return 0.5 if decides else 0.5 / others


def _check(name: str, boundaries: Sequence[float], counts: Sequence[float]) -> None:
    if len(counts) != len(boundaries) + 1:
        raise ValueError(f"{name}: one count per boundary and the total, got {len(counts)}")
    if not all(isfinite(n) for n in counts) or not all(
        low <= high for low, high in pairwise((0.0, *counts))
    ):
        raise ValueError(f"{name}: cumulative counts are finite and do not fall, got {counts}")
