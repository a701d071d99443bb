"""How a run went, bucket by bucket: what was counted, and where it left things; pure.

Kept in the run's record for as long as there is one, so it is bounded: when there are too many
points, neighbours among the older half are summed up, the finest first, and it is said that they
were. Of the pods only the dispersion is left that their counts were divided by: that is all that a
replay needs to come to the same verdicts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Any, Final, Self

from shieldx.signals.buckets import Bucket
from shieldx.stats import Report

MOST_POINTS: Final = 500
# Counts of one metric in one point take some 50 bytes of the record.
MOST_COUNTS: Final = 6000
_LARGEST_LOG: Final = 1e6
_COUNTS: Final = 4

type Counts = tuple[float, ...]
type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket, or several neighbours summed up, and where things stood at its end.

    `counts`, by metric: requests of the champion, bad ones, requests of the challenger, bad ones,
    and the dispersion; of restarts pods instead of requests, and no dispersion. `harm` and the
    least `safety` of a guardrail are logarithms. `harm_only`: it could not prove safety.
    """

    end: float
    verdict: str
    harm: float
    safety: float
    counts: Mapping[str, Counts]
    harm_only: bool = False
    buckets: int = 1

    @classmethod
    def of(
        cls, bucket: Bucket, rows: Mapping[str, Counts | None], report: Report, *, harm_only: bool
    ) -> Self:
        """Return the point of a bucket that was judged by `rows` with that result."""
        safety = min(it.log_e_noninferiority for it in report.metrics.values() if not it.harm_only)
        return cls(
            end=bucket.end,
            verdict=str(report.verdict),
            harm=_shown(report.log_e_rollback),
            safety=_shown(safety),
            counts={name: row for name, row in rows.items() if row is not None},
            harm_only=harm_only,
        )

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `render` wrote; KeyError, TypeError or ValueError if it did not."""
        return cls(
            end=float(stored["end"]),
            verdict=str(stored["verdict"]),
            harm=float(stored["harm"]),
            safety=float(stored["safety"]),
            counts={name: tuple(map(float, row)) for name, row in stored["counts"].items()},
            harm_only=bool(stored.get("harmOnly", False)),
            buckets=int(stored.get("buckets", 1)),
        )

    def render(self) -> Json:
        """Return it as the record holds it: what is usual is left out."""
        return {
            "end": _number(self.end),
            "verdict": self.verdict,
            "harm": self.harm,
            "safety": self.safety,
            "counts": {name: list(map(_number, row)) for name, row in self.counts.items()},
            **({"harmOnly": True} if self.harm_only else {}),
            **({"buckets": self.buckets} if self.buckets > 1 else {}),
        }

    def followed_by(self, later: Self) -> Self:
        """Return both summed up, with the verdict of the later one; never more than they prove."""
        names = dict.fromkeys((*self.counts, *later.counts))
        return replace(
            later,
            counts={name: _added(self.counts.get(name), later.counts.get(name)) for name in names},
            harm_only=self.harm_only or later.harm_only,
            buckets=self.buckets + later.buckets,
        )


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The points of a run in order, and the champion's rates that were frozen before the first.

    `since`: when the challenger was first served, in seconds since 1970; points come later, since
    nothing counts while it warms up.
    """

    base_rates: Mapping[str, float]
    points: tuple[Point, ...] = ()
    since: float | None = None

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `render` wrote, or nothing at all."""
        return cls(
            {each["name"]: float(each["rate"]) for each in stored.get("baseRates", [])},
            tuple(map(Point.parse, stored.get("points", []))),
            stored.get("since"),
        )

    def render(self) -> Json:
        """Return it as the record holds it."""
        return {
            "baseRates": [
                {"name": k, "rate": f"{rate:.6g}"} for k, rate in self.base_rates.items()
            ],
            "since": None if self.since is None else _number(self.since),
            "points": [point.render() for point in self.points],
            "thinned": self.thinned,
        }

    @property
    def thinned(self) -> str | None:
        """What of it is coarser than it was, in a sentence; None if nothing is."""
        coarse = [point.buckets for point in self.points if point.buckets > 1]
        if not coarse:
            return None
        return (
            f"the oldest {sum(coarse)} buckets are summed up in {len(coarse)} points "
            f"of up to {max(coarse)}"
        )

    def extended(self, points: Iterable[Point]) -> Self:
        """Return it with what came later than its end, in as many points as it may have."""
        last = self.points[-1].end if self.points else float("-inf")
        extended = [*self.points, *(point for point in points if point.end > last)]
        metrics = max((len(point.counts) for point in extended), default=1)
        most = min(MOST_POINTS, max(MOST_COUNTS // max(metrics, 1), 2))
        while len(extended) > most:
            extended = _thinned(extended)
        return replace(self, points=tuple(extended))


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Sum up neighbours among the older half of three points or more, the finest first.

    What could prove safety is summed up with what could not only where nothing else is left: of
    the sum it is not known what it would have proved.
    """
    half = (len(points) + 1) // 2
    older, newer = points[:half], points[half:]
    alike = [pair for pair in pairwise(older) if pair[0].harm_only == pair[1].harm_only]
    most = min(this.buckets + that.buckets for this, that in alike or pairwise(older))
    summed: list[Point] = []
    for point in older:
        last = summed[-1] if summed else None
        if (
            last is not None
            and last.buckets + point.buckets <= most
            and (not alike or last.harm_only == point.harm_only)
        ):
            summed[-1] = last.followed_by(point)
        else:
            summed.append(point)
    return [*summed, *newer]


def _added(this: Counts | None, that: Counts | None) -> Counts:
    if this is None or that is None:
        return this or that or ()
    sums = tuple(a + b for a, b in zip(this[:_COUNTS], that[:_COUNTS], strict=True))
    dispersions = (max(pair) for pair in zip_longest(this[_COUNTS:], that[_COUNTS:], fillvalue=1.0))
    return (*sums, *dispersions)


def _shown(log: float) -> float:
    return round(max(min(log, _LARGEST_LOG), -_LARGEST_LOG), 3)


def _number(value: float) -> float:
    """Return a whole number as one: shorter in a record, and the same when it is read."""
    return int(value) if float(value).is_integer() else value
