"""Evidence from pairs: each request answered by the champion and, as a copy, by the challenger.

What hits both answers of a pair alike (a bad request, a slow database) cancels, so shadow traffic
needs a fraction of the requests that a canary needs: (1 - r) of them, where r is the
correlation between the two outcomes.

The claim to be refuted says that some `gain` of a pair is at most 0 on average: for harm
x_b - (1 + tolerance) x_a, where x is 1 for a bad answer and 0 for a good one; for a margin
(1 + margin_rel) x_a - x_b or x_a + margin_abs - x_b; for superiority x_a - x_b. The e-value of a
pair is the bet 1 + stake * gain, which no outcome makes negative, and which under the claim is
at most 1 on average whatever the two answers have to do with each other. The stakes are a fixed
grid, averaged ("Estimating means of bounded random variables by betting", Waudby-Smith and Ramdas
2024). Assumed is that pairs are independent given the past, or as uneven as phi says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, log
from typing import Any, Final, Self, cast

import numpy as np
from scipy.special import betainc, betaincinv

from shieldx.stats.engine import Mode, Verdict, cut_at
from shieldx.stats.eprocess import Floats, log_sum_exp
from shieldx.stats.metric import StateMismatchError

# (pairs, both bad, only the champion's bad, only the challenger's bad[, phi])
type PairCounts = tuple[float, float, float, float] | tuple[float, float, float, float, float]

# Of the largest stake that no outcome can ruin.
STAKES: Final = np.append(np.exp2(-np.arange(7.0, 0.0, -1.0)), 0.9)
_OUTCOMES: Final = np.array([(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])  # (x_a, x_b)
_STATE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """To be refuted: that a pair's gain, `of_a x_a + of_b x_b + always`, averages 0 or less."""

    of_a: float
    of_b: float
    always: float = 0.0

    @property
    def log_bets(self) -> Floats:
        """ln(1 + stake * gain) for each stake and each of the four outcomes: `(stakes, 4)`."""
        gains = _OUTCOMES @ (self.of_a, self.of_b) + self.always
        return cast("Floats", np.log1p(np.outer(STAKES / -gains.min(), gains)))


@dataclass(frozen=True, slots=True)
class PairedReport:
    """The verdict on pairs and the evidence for it.

    log_e_…             log e-values; exp of it is the factor on even odds
    probability_better  that fewer pairs fail at the challenger alone than at the champion alone
    interval            95 % interval of the ratio of those two, challenger : champion
    """

    verdict: Verdict
    log_e_harm: float
    log_e_noninferiority: float
    log_e_superiority: float
    probability_better: float
    interval: tuple[float, float]
    pairs: float
    buckets: int
    last_end: float | None


class PairedEngine:
    """Judge a challenger by mirrored requests, bucket by bucket; the rules are `DecisionEngine`'s.

    The looser of both margins holds: the claim that the challenger is beyond both is refuted by
    evidence against either, and against their average.

    ValueError for parameters out of range.
    """

    def __init__(
        self,
        mode: Mode = "noninferiority",
        *,
        margin_rel: float = 0.25,
        margin_abs: float = 0.0,
        tolerance_rel: float = 0.0,
        rollback_risk: float = 0.01,
        promotion_risk: float = 0.01,
        min_buckets: int = 1,
        bucket_share: float = 1.0,
    ) -> None:
        if mode not in {"noninferiority", "superiority"}:
            raise ValueError(f"mode is 'noninferiority' or 'superiority', got {mode!r}")
        if not (0.0 <= margin_rel < inf and 0.0 <= margin_abs < 1.0 and 0.0 <= tolerance_rel < inf):
            raise ValueError("margins and tolerance are not negative, margin_abs is below 1")
        if not (0.0 < rollback_risk < 1.0 and 0.0 < promotion_risk < 1.0):
            raise ValueError("risks are probabilities between 0 and 1")
        if not 0.0 < bucket_share <= 1.0 or min_buckets < 0:
            raise ValueError("bucket_share is above 0 and at most 1, min_buckets not negative")
        self._mode = mode
        self._thresholds = log(1.0 / rollback_risk), log(1.0 / promotion_risk)
        self._min_buckets = min_buckets
        lines = [Claim(1.0 + margin_rel, -1.0), Claim(1.0, -1.0, margin_abs)]
        margins = [
            line for line, is_set in zip(lines, (margin_rel, margin_abs), strict=True) if is_set
        ]
        cuts = cut_at(bucket_share, rollback_risk), cut_at(bucket_share, promotion_risk)
        self._harm = _Bets([Claim(-1.0 - tolerance_rel, 1.0)], cuts[0])
        self._noninferiority = _Bets(margins or lines[:1], cuts[1])
        self._superiority = _Bets([Claim(1.0, -1.0)], cuts[1])
        self._question = [margin_rel, margin_abs, tolerance_rel]
        self._sums = np.zeros(3)  # pairs; bad at the champion only, at the challenger only
        self._last_end: float | None = None
        self._buckets = 0
        self._doomed = False

    def update(self, counts: PairCounts, end: float) -> PairedReport:
        """Take in one closed bucket; one that ends at or before the last changes nothing.

        `counts` is (pairs, both bad, only the champion's bad, only the challenger's bad[, phi]).
        ValueError, before anything has changed, for numbers that cannot be.
        """
        if len(counts) not in {4, 5} or not all(isfinite(n) and n >= 0.0 for n in counts):
            raise ValueError(f"pairs are (n, both, champion, challenger[, phi]), got {counts}")
        pairs, both, champion, challenger = (float(n) for n in counts[:4])
        phi = max(1.0, float(counts[4])) if len(counts) == 5 else 1.0  # noqa: PLR2004  optional
        good = pairs - both - champion - challenger
        if good < 0.0:
            raise ValueError(f"more bad pairs than pairs: {counts}")
        if not isfinite(end):
            raise ValueError(f"a bucket ends at a finite time, got {end}")
        if self._last_end is not None and end <= self._last_end:
            return self.report()
        self._last_end = end
        self._buckets += pairs > 0.0
        outcomes = np.array([good, both, champion, challenger])
        for bets in (self._harm, self._noninferiority, self._superiority):
            bets.place(outcomes, phi)
        self._sums = self._sums + np.array([pairs, champion / phi, challenger / phi])
        self._doomed = self._doomed or self._harm.log_e >= self._thresholds[0]
        return self.report()

    def report(self) -> PairedReport:
        """Return where things stand, without a new bucket."""
        pairs, champion, challenger = (float(each) for each in self._sums)
        bounds = [float(betaincinv(challenger + 0.5, champion + 0.5, q)) for q in (0.025, 0.975)]
        decides = self._superiority if self._mode == "superiority" else self._noninferiority
        safe = self._buckets >= self._min_buckets and decides.log_e >= self._thresholds[1]
        verdict = Verdict.PROMOTE if safe else Verdict.CONTINUE
        return PairedReport(
            verdict=Verdict.ROLLBACK if self._doomed else verdict,
            log_e_harm=self._harm.log_e,
            log_e_noninferiority=self._noninferiority.log_e,
            log_e_superiority=self._superiority.log_e,
            probability_better=float(betainc(challenger + 0.5, champion + 0.5, 0.5)),
            interval=(bounds[0] / (1.0 - bounds[0]), bounds[1] / (1.0 - bounds[1])),
            pairs=pairs,
            buckets=self._buckets,
            last_end=self._last_end,
        )

    def dump(self) -> dict[str, Any]:
        """Return the whole state as JSON-able values, less than 2 kB."""
        return {
            "version": _STATE_VERSION,
            "question": self._question,
            "last": self._last_end,
            "buckets": self._buckets,
            "doomed": self._doomed,
            "sums": self._sums.tolist(),
            "harm": self._harm.evidence.tolist(),
            "noninferiority": self._noninferiority.evidence.tolist(),
            "superiority": self._superiority.evidence.tolist(),
        }

    @classmethod
    def load(cls, state: Mapping[str, Any], mode: Mode = "noninferiority", **options: Any) -> Self:
        """Continue from `dump()` with the parameters that it was made with.

        StateMismatchError (a ValueError) where the margins or the tolerance are others.
        """
        engine = cls(mode, **options)
        if state.get("version") != _STATE_VERSION or state["question"] != engine._question:
            raise StateMismatchError("the pairs were counted for another question; start anew")
        engine._last_end, engine._buckets = state["last"], int(state["buckets"])
        engine._doomed = bool(state["doomed"])
        engine._sums = np.array(state["sums"], dtype=np.float64)
        for bets, name in (
            (engine._harm, "harm"),
            (engine._noninferiority, "noninferiority"),
            (engine._superiority, "superiority"),
        ):
            bets.evidence = np.array(state[name], dtype=np.float64)
        return engine


class _Bets:
    """An e-process: every stake on every claim, averaged."""

    def __init__(self, claims: list[Claim], cut: float) -> None:
        self._log_bets = np.vstack([claim.log_bets for claim in claims])
        self._cut = cut
        self.evidence = np.zeros(len(self._log_bets))

    def place(self, outcomes: Floats, phi: float) -> None:
        gained = self._log_bets @ outcomes / phi
        self.evidence = self.evidence + np.minimum(gained, self._cut)

    @property
    def log_e(self) -> float:
        return log_sum_exp(self.evidence) - log(len(self.evidence))
