"""One metric of a decision: what was asked of it, and the evidence so far.

Counts have an event that is either bad (errors, slow requests: `better="lower"`) or good
(conversions: `better="higher"`, where every line and effect is mirrored).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, log, sqrt
from typing import Any, Final, Literal
from zlib import crc32

import numpy as np

from shieldx.stats.eprocess import (
    Centre,
    Floats,
    Line,
    Mixture,
    clip_rate,
    harm_mixture,
    log_e_values,
    log_odds,
    noninferiority_mixture,
    superiority_mixture,
)
from shieldx.stats.jumps import STAKED, forgotten, has_jumped, with_capital
from shieldx.stats.posterior import Posterior, Strata

type Four = tuple[float, float, float, float]

RECENT_SUMS: Final = 8  # the recent past is kept as so many sums


class StateMismatchError(ValueError):
    """A stored state answers another question than the one that is asked now."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric and what is expected of it; rates and risks are shares, 0.01 is 1 %.

    base_rate       the champion's rate, as far as known before the first bucket
    margin_rel/abs  how much worse still counts as the same; the looser of both lines holds
    tolerance_rel   how much worse is not yet harm (never rolled back for it)
    mde             the effect that superiority should find, relative to the base rate
    weight          this metric's share of the evidence for a roll-back, relative to the others'
    primary         the metric that superiority is about
    harm_only       can roll back, has no say in a promotion

    ValueError for numbers out of range.
    """

    name: str
    better: Literal["lower", "higher"] = "lower"
    base_rate: float = 0.01
    margin_rel: float = 0.25
    margin_abs: float = 0.0
    tolerance_rel: float = 0.0
    mde: float | None = None
    weight: float = 1.0
    primary: bool = False
    harm_only: bool = False

    def __post_init__(self) -> None:
        if self.better not in {"lower", "higher"}:
            raise ValueError(f"{self.name}: better is 'lower' or 'higher', got {self.better!r}")
        if not 0.0 < self.base_rate < 1.0:
            raise ValueError(f"{self.name}: base_rate is between 0 and 1, got {self.base_rate}")
        if not (0.0 <= self.margin_rel < inf and 0.0 <= self.margin_abs < 1.0):
            raise ValueError(f"{self.name}: margins are not negative, margin_abs is below 1")
        if not 0.0 <= self.tolerance_rel < inf:
            raise ValueError(f"{self.name}: tolerance_rel is not negative")
        if self.better == "higher" and max(self.margin_rel, self.tolerance_rel) >= 1.0:
            raise ValueError(f"{self.name}: a rate cannot fall by 100 % or more")
        if self.mde is not None and not 0.0 < self.mde < inf:
            raise ValueError(f"{self.name}: mde is above 0, got {self.mde}")
        if not (isfinite(self.weight) and self.weight > 0.0):
            raise ValueError(f"{self.name}: weight is above 0, got {self.weight}")

    @property
    def worse(self) -> int:
        """+1 where a higher rate is worse, -1 where a lower one is."""
        return 1 if self.better == "lower" else -1

    @property
    def tolerated(self) -> Line:
        """The border of harm."""
        return Line(1.0 + self.worse * self.tolerance_rel)

    @property
    def margins(self) -> tuple[Line, Line]:
        """The relative and the absolute border of what a promotion allows."""
        return Line(1.0 + self.worse * self.margin_rel), Line(1.0, self.worse * self.margin_abs)

    def margin_at(self, rate: float) -> Line:
        """Return the looser of the relative and the absolute margin at the champion's `rate`."""
        relative, absolute = self.margins
        looser = self.worse * (absolute.at(rate) - relative.at(rate)) > 0.0
        return absolute if looser else relative

    @property
    def margin_log_odds(self) -> float:
        """The margin as signed log-odds at the base rate."""
        at_margin = clip_rate(self.margin_at(self.base_rate).at(self.base_rate))
        return log_odds(at_margin) - log_odds(self.base_rate)

    @property
    def effect_log_odds(self) -> float | None:
        """The minimum effect as signed log-odds at the base rate."""
        if self.mde is None:
            return None
        improved = clip_rate(self.base_rate * (1.0 - self.worse * self.mde))
        return log_odds(improved) - log_odds(self.base_rate)


RESTARTS = MetricSpec("restarts", base_rate=0.001, tolerance_rel=1.0, harm_only=True)
"""The guardrail every experiment has: pod-buckets with a restart, of all pod-buckets."""


def half_way_tolerance(base_rate: float, margin_rel: float = 0.0, margin_abs: float = 0.0) -> float:
    """Return the tolerance half-way (geometrically) to the looser margin at `base_rate`.

    What a margin allows should not be rolled back long before it is used up.
    """
    return sqrt(1.0 + max(margin_rel, margin_abs / base_rate)) - 1.0


@dataclass(frozen=True, slots=True)
class MetricReport:
    """The evidence on one metric.

    log_e_…                        log e-values; exp of it is the factor on even odds
    probability_better             that the challenger's rate is better than the champion's
    probability_worse_than_margin  over everything
    …_recent                       over the recent buckets alone; None where none are kept
    interval                       95 % interval of the rates' ratio, challenger : champion
    expected_loss                  what choosing the challenger would cost, relative to the rate
    …_total, …_bad                 requests and events, of all buckets with both arms in them
    harm_only                      whether it has no say in a promotion
    """

    log_e_harm: float
    log_e_noninferiority: float
    log_e_superiority: float
    probability_better: float
    probability_worse_than_margin: float
    probability_worse_than_margin_recent: float | None
    interval: tuple[float, float]
    expected_loss: float
    champion_total: float
    champion_bad: float
    challenger_total: float
    challenger_bad: float
    harm_only: bool = False


@dataclass(slots=True)
class _Process:
    """One mixture and what became of what was staked on each of its parts, in logs."""

    mixture: Mixture
    stake: float
    evidence: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.evidence = np.full_like(self.mixture.deltas, log(self.stake))


class MetricEvidence:
    """The three e-processes of one metric, the predicted rate, and the sums of the posterior."""

    def __init__(
        self,
        spec: MetricSpec,
        *,
        harm_cut: float,
        promotion_cut: float,
        recent_buckets: int,
        reserve: float,
    ) -> None:
        self.spec = spec
        self._harm_cut, self._promotion_cut = harm_cut, promotion_cut
        self._heeds_jumps = reserve > 0.0
        self._kept = reserve
        self._slot_buckets = -(-recent_buckets // RECENT_SUMS)
        self._centre = Centre.at(spec.base_rate)
        stake = 1.0 - reserve
        self._harm = _Process(harm_mixture(spec.worse), stake)
        self._noninferiority = _Process(noninferiority_mixture(spec.margin_log_odds), stake)
        self._superiority = _Process(superiority_mixture(spec.effect_log_odds, -spec.worse), stake)
        self._strata = Strata()
        self._recent: list[Strata] = []
        self._in_slot = 0
        self._bad = (0.0, 0.0)

    @property
    def log_e_harm(self) -> float:
        return self._log_e(self._harm)

    @property
    def log_e_noninferiority(self) -> float:
        return self._log_e(self._noninferiority)

    @property
    def log_e_superiority(self) -> float:
        return self._log_e(self._superiority)

    @property
    def recently_within_margin(self) -> bool:
        """Whether the recent buckets alone would rather be within the margin."""
        worse = self._recent_worse_than_margin()
        return worse is None or worse < 0.5  # noqa: PLR2004  more likely than not

    def update(self, counts: Four, phi: float, *, gains_safety: bool) -> None:
        """Add one bucket; only its prediction, made before it, meets its counts."""
        n_a, x_a, n_b, _ = counts
        if n_a > 0.0 and n_b > 0.0:
            self._judge(counts, phi, gains_safety=gains_safety)
            self._remember(counts, phi)
        if n_a > 0.0:
            if self._heeds_jumps and has_jumped(n_a, x_a, self._centre.rate, phi):
                self._centre = forgotten(self._centre, n_a)
                self._stake()
            self._centre = self._centre.after(n_a, x_a)

    def _stake(self) -> None:
        """Put a part of what is kept back to the bets of the buckets to come."""
        more = STAKED * self._kept
        self._kept -= more
        for process in (self._harm, self._noninferiority, self._superiority):
            process.evidence = with_capital(process.evidence, more)

    def _judge(self, counts: Four, phi: float, *, gains_safety: bool) -> None:
        spec, rate = self.spec, self._centre.rate
        harm = log_e_values(counts, rate, self._harm.mixture.deltas, spec.tolerated, spec.worse)
        self._harm.evidence = self._harm.evidence + np.minimum(harm / phi, self._harm_cut)
        safe = log_e_values(
            counts, rate, self._noninferiority.mixture.deltas, spec.margin_at(rate), -spec.worse
        )
        most = self._promotion_cut if gains_safety else 0.0
        self._noninferiority.evidence = self._noninferiority.evidence + np.minimum(safe / phi, most)
        better = log_e_values(counts, rate, self._superiority.mixture.deltas, Line(), -spec.worse)
        self._superiority.evidence = self._superiority.evidence + np.minimum(
            better / phi, self._promotion_cut
        )

    def _log_e(self, process: _Process) -> float:
        at_stake = process.mixture.log_e_of_runs(process.evidence)
        return float(with_capital(at_stake, self._kept))

    def _remember(self, counts: Four, phi: float) -> None:
        self._strata = self._strata.plus(counts, phi)
        self._bad = (self._bad[0] + counts[1], self._bad[1] + counts[3])
        if not self._slot_buckets:
            return
        if not self._recent or self._in_slot == self._slot_buckets:
            self._recent = [*self._recent[1 - RECENT_SUMS :], Strata()]
            self._in_slot = 0
        self._recent[-1] = self._recent[-1].plus(counts, phi)
        self._in_slot += 1

    def report(self) -> MetricReport:
        belief = Posterior.of(self._strata)
        above = belief.probability_above(1.0)
        lower = self.spec.worse > 0
        return MetricReport(
            log_e_harm=self.log_e_harm,
            log_e_noninferiority=self.log_e_noninferiority,
            log_e_superiority=self.log_e_superiority,
            probability_better=1.0 - above if lower else above,
            probability_worse_than_margin=self._worse_than_margin(belief),
            probability_worse_than_margin_recent=self._recent_worse_than_margin(),
            interval=belief.interval,
            expected_loss=belief.expected_excess() if lower else belief.expected_shortfall(),
            champion_total=self._strata.n_a,
            champion_bad=self._bad[0],
            challenger_total=self._strata.n_b,
            challenger_bad=self._bad[1],
            harm_only=self.spec.harm_only,
        )

    def _recent_worse_than_margin(self) -> float | None:
        if not self._slot_buckets:
            return None
        return self._worse_than_margin(Posterior.of(sum(self._recent, Strata())))

    def _worse_than_margin(self, belief: Posterior) -> float:
        rate = self._centre.rate
        above = belief.probability_above(self.spec.margin_at(rate).at(rate) / rate)
        return above if self.spec.worse > 0 else 1.0 - above

    def dump(self) -> dict[str, Any]:
        return {
            "question": self._question(),
            "centre": [self._centre.events, self._centre.requests],
            "kept": self._kept,
            "harm": self._harm.evidence.tolist(),
            "noninferiority": self._noninferiority.evidence.tolist(),
            "superiority": self._superiority.evidence.tolist(),
            "strata": _numbers(self._strata),
            "bad": list(self._bad),
            "recent": [_numbers(each) for each in self._recent],
            "slot": [self._slot_buckets, self._in_slot],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if state["question"] != self._question():
            raise StateMismatchError(
                f"the state of metric {self.spec.name!r} was gathered for another rate, margin,"
                " tolerance or effect; start anew"
            )
        self._centre = Centre(*state["centre"])
        self._kept = state["kept"]
        for process, name in (
            (self._harm, "harm"),
            (self._noninferiority, "noninferiority"),
            (self._superiority, "superiority"),
        ):
            process.evidence = np.array(state[name], dtype=np.float64)
        self._strata = Strata(*state["strata"])
        self._bad = (state["bad"][0], state["bad"][1])
        slot_buckets, in_slot = state["slot"]
        if slot_buckets == self._slot_buckets:  # of another length the window fills anew
            self._recent = [Strata(*each) for each in state["recent"]]
            self._in_slot = in_slot

    def _question(self) -> str:
        """Return a short mark of all that the evidence depends on."""
        spec = self.spec
        asked = (
            spec.name,
            spec.better,
            spec.base_rate,
            spec.margin_rel,
            spec.margin_abs,
            spec.tolerance_rel,
            spec.mde,
        )
        return f"{crc32(repr(asked).encode()):08x}"


def _numbers(strata: Strata) -> list[float]:
    return [strata.numerator, strata.denominator, strata.spread, strata.n_a, strata.n_b]
