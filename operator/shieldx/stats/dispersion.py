"""How much noisier than coin tosses the counts are: phi, learnt from pods of one version.

Requests that fail together (a slow disk, a burst on one pod) make a binomial test see evidence
where there is none. Pods of the same version should differ by chance alone; phi is how many
times more they do: the sum of squares between the pods of an arm over its binomial expectation,
as a ratio of sums, for counts added up over 1, 8 and 64 buckets (bursts may be longer than a
bucket), whichever is largest, and at least 1. Log evidence is divided by it.

Only the past may be asked: take `phi` before adding the bucket that it is used for. A width
counts once there are eight degrees of freedom, since one window of two pods says nothing.
The sums are kept, an open window is not: after a restart it begins anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

WIDTHS = (1, 8, 64)
_ENOUGH_FREEDOM = 8


class Counts(NamedTuple):
    """What one pod counted in one bucket: `n` requests, `bad` of them with the event."""

    n: float
    bad: float


class Spread(NamedTuple):
    """Sum of squares between pods, what chance alone would give, and degrees of freedom."""

    squares: float = 0.0
    expected: float = 0.0
    freedom: int = 0

    def plus(self, other: "Spread") -> "Spread":
        return Spread(
            self.squares + other.squares,
            self.expected + other.expected,
            self.freedom + other.freedom,
        )


type Pods = Mapping[str, tuple[float, float]]
type Spreads = tuple[Spread, ...]

NOTHING: Spreads = (Spread(),) * len(WIDTHS)


class Dispersion:
    """The running estimate of phi for one metric; both arms' pods contribute."""

    def __init__(self, sums: Spreads = NOTHING) -> None:
        self.sums = sums
        self._open: tuple[list[dict[str, Counts]], ...] = tuple([{}, {}] for _ in WIDTHS)
        self._seen = 0

    @property
    def phi(self) -> float:
        """How many times the binomial variance the past shows, at least 1."""
        ratios = [
            spread.squares / spread.expected
            for spread in self.sums
            if spread.freedom >= _ENOUGH_FREEDOM
        ]
        return max([1.0, *ratios])

    def add(self, champion: Pods, challenger: Pods) -> None:
        """Learn from one bucket: (n, bad) by pod of either arm; an arm may be empty."""
        self._seen += 1
        sums = list(self.sums)
        for index, width in enumerate(WIDTHS):
            arms = self._open[index]
            for total, pods in zip(arms, (champion, challenger), strict=True):
                _add_up(total, pods)
            if self._seen % width == 0:
                for total in arms:
                    sums[index] = sums[index].plus(spread_between(total.values()))
                    total.clear()
        self.sums = tuple(sums)

    def dump(self) -> list[float]:
        """Return a JSON-able state, three numbers a width."""
        return [number for spread in self.sums for number in spread]

    @classmethod
    def load(cls, state: Sequence[float]) -> Self:
        """Continue from `dump()`; ValueError where it is not one."""
        if len(state) != 3 * len(WIDTHS):
            raise ValueError(f"a dispersion is {3 * len(WIDTHS)} numbers, got {len(state)}")
        rows = [state[at : at + 3] for at in range(0, len(state), 3)]
        return cls(tuple(Spread(row[0], row[1], int(row[2])) for row in rows))


def spread_between(pods: Iterable[tuple[float, float]]) -> Spread:
    """Compare the pods of one arm with what chance allows between pods of one rate."""
    busy = [(n, bad) for n, bad in pods if n > 0]
    n = sum(requests for requests, _ in busy)
    rate = sum(bad for _, bad in busy) / n if busy else 0.0
    if len(busy) < 2 or not 0.0 < rate < 1.0:  # noqa: PLR2004  a pod alone differs from nobody
        return Spread()
    squares = sum((bad - requests * rate) ** 2 for requests, bad in busy)
    # n / (n - 1) takes back what estimating the rate from the same counts hides.
    variance = rate * (1.0 - rate) * n / (n - 1.0)
    expected = variance * sum(requests * (1.0 - requests / n) for requests, _ in busy)
    return Spread(squares, expected, len(busy) - 1)


def _add_up(total: dict[str, Counts], pods: Pods) -> None:
    for pod, (n, bad) in pods.items():
        before = total.get(pod, Counts(0, 0))
        total[pod] = Counts(before.n + n, before.bad + bad)
