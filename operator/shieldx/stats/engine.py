"""The decision about a challenger: bucket by bucket, with error rates that hold at any time.

Per metric run three e-processes (see `eprocess`): *harm* against "no worse than the tolerance",
*non-inferiority* against "worse by the margin or more", *superiority* against "no better".

* Roll back when the weighted average of the harm e-values of all metrics reaches
  1 / rollback_risk. By Ville's inequality a harmless challenger is ever rolled back with
  probability at most `rollback_risk`, whatever the metrics have to do with each other. Absorbing.
* Promote when each metric's non-inferiority e-value is at 1 / promotion_risk now (on the primary
  metric superiority's, in that mode) and the recent past alone does not look worse than the
  margin. Not absorbing: evidence goes on, and the next bucket may say otherwise.
* Otherwise continue.

The engine is a pure fold over closed buckets: same buckets, same state, to the last bit, with
any number of `dump` and `load` in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite, log
from typing import Any, Literal, Self

import numpy as np

from shieldx.stats.eprocess import log_sum_exp
from shieldx.stats.metric import MetricEvidence, MetricReport, MetricSpec, StateMismatchError

type Mode = Literal["noninferiority", "superiority"]
type BucketCounts = tuple[float, float, float, float] | tuple[float, float, float, float, float]

_STATE_VERSION = 2  # 1 knew no reserve


class Verdict(StrEnum):
    """What the evidence says about the challenger at the end of a bucket."""

    CONTINUE = "continue"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict and the evidence for it.

    `log_e_rollback` is the log of the averaged harm e-value, to be held against
    ln(1 / rollback_risk); `blame` names the metric with the most evidence of harm once the
    verdict is a roll-back; `buckets` counts those in which both arms had requests; `last_end` is
    the end of the last bucket, None before the first.
    """

    verdict: Verdict
    log_e_rollback: float
    blame: str | None
    buckets: int
    last_end: float | None
    metrics: Mapping[str, MetricReport]


class DecisionEngine:
    """Judge a challenger from closed buckets of counts.

    `mode` "superiority" asks the primary metric (the only one, if there is one) to be better, the
    others not to be worse than their margins. `min_buckets` buckets must have been seen before a
    promotion; a roll-back has no minimum. No bucket adds more than `bucket_share` of what a
    roll-back or a promotion needs to any alternative (a truncated e-value is an e-value), so one
    bad moment of either arm is no verdict; 1 cuts nothing. `recent_buckets` is how many of the last
    buckets must not look worse than the margin for a promotion; 0 asks nothing of them. `reserve`
    is the share of the capital of every bet that is kept back until the champion's rate jumps (see
    `jumps`); with 0 jumps are not heeded.

    ValueError for parameters out of range, no metrics, equal names, or nothing to promote on.
    """

    def __init__(
        self,
        specs: Sequence[MetricSpec],
        mode: Mode = "noninferiority",
        *,
        rollback_risk: float = 0.01,
        promotion_risk: float = 0.01,
        min_buckets: int = 1,
        bucket_share: float = 1.0,
        recent_buckets: int = 0,
        reserve: float = 0.0,
    ) -> None:
        _check_specs(specs, mode)
        for name, risk in (("rollback_risk", rollback_risk), ("promotion_risk", promotion_risk)):
            if not 0.0 < risk < 1.0:
                raise ValueError(f"{name} is a probability between 0 and 1, got {risk}")
        if not 0.0 < bucket_share <= 1.0:
            raise ValueError(f"bucket_share is a share, above 0 and at most 1, got {bucket_share}")
        if min_buckets < 0 or recent_buckets < 0:
            raise ValueError("min_buckets and recent_buckets are counts, they cannot be negative")
        if not 0.0 <= reserve < 1.0:
            raise ValueError(f"reserve is a share, not negative and below 1, got {reserve}")
        self._mode = mode
        self._harm_threshold = log(1.0 / rollback_risk)
        self._promotion_threshold = log(1.0 / promotion_risk)
        self._min_buckets = min_buckets
        self._evidence = [
            MetricEvidence(
                spec,
                harm_cut=cut_at(bucket_share, rollback_risk),
                promotion_cut=cut_at(bucket_share, promotion_risk),
                recent_buckets=recent_buckets,
                reserve=reserve,
            )
            for spec in specs
        ]
        weights = np.array([spec.weight for spec in specs])
        self._log_weights = np.log(weights / weights.sum())
        self._last_end: float | None = None
        self._buckets = 0
        self._blame: str | None = None

    def update(
        self,
        counts: Sequence[BucketCounts | None],
        end: float,
        challenger_restarted: bool = False,  # noqa: FBT001, FBT002  the published signature
    ) -> Report:
        """Take in one closed bucket and return where things stand.

        `counts` holds, per metric and in the order of the specs, (champion total, champion bad,
        challenger total, challenger bad[, phi]), or None where the metric has no complete bucket;
        `end` is the bucket's end. A bucket that ends at or before the last one is a replay and
        changes nothing. `phi` (at least 1) divides the evidence. A bucket in which a pod
        of the challenger restarted adds nothing to non-inferiority: the dead take their failures
        with them.

        ValueError, before anything has changed, for a wrong number of metrics, negative or
        non-finite numbers.
        """
        if len(counts) != len(self._evidence):
            raise ValueError(f"{len(self._evidence)} metrics, but counts of {len(counts)}")
        checked = [None if row is None else _checked(row) for row in counts]
        if not isfinite(end):
            raise ValueError(f"a bucket ends at a finite time, got {end}")
        if self._last_end is not None and end <= self._last_end:
            return self.report()
        self._last_end = end
        seen = False
        for evidence, row in zip(self._evidence, checked, strict=True):
            if row is not None:
                seen |= row[0] > 0 and row[2] > 0
                evidence.update(row[:4], row[4], gains_safety=not challenger_restarted)
        self._buckets += seen
        if self._blame is None and self._log_e_rollback() >= self._harm_threshold:
            self._blame = self._most_harmed()
        return self.report()

    def report(self) -> Report:
        """Return where things stand, without a new bucket."""
        return Report(
            verdict=self._verdict(),
            log_e_rollback=self._log_e_rollback(),
            blame=self._blame,
            buckets=self._buckets,
            last_end=self._last_end,
            metrics={evidence.spec.name: evidence.report() for evidence in self._evidence},
        )

    def dump(self) -> dict[str, Any]:
        """Return the whole state as JSON-able values, less than 2 kB a metric."""
        return {
            "version": _STATE_VERSION,
            "last": self._last_end,
            "buckets": self._buckets,
            "blame": self._blame,
            "metrics": [evidence.dump() for evidence in self._evidence],
        }

    @classmethod
    def load(
        cls,
        specs: Sequence[MetricSpec],
        state: Mapping[str, Any],
        mode: Mode = "noninferiority",
        *,
        rollback_risk: float = 0.01,
        promotion_risk: float = 0.01,
        min_buckets: int = 1,
        bucket_share: float = 1.0,
        recent_buckets: int = 0,
        reserve: float = 0.0,
    ) -> Self:
        """Continue from `dump()` with the parameters that it was made with.

        StateMismatchError (a ValueError) where the state belongs to other metrics: evidence for
        one question says nothing about another, so the caller starts anew.
        """
        engine = cls(
            specs,
            mode,
            rollback_risk=rollback_risk,
            promotion_risk=promotion_risk,
            min_buckets=min_buckets,
            bucket_share=bucket_share,
            recent_buckets=recent_buckets,
            reserve=reserve,
        )
        engine._restore(state)
        return engine

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != _STATE_VERSION:
            raise StateMismatchError(f"state of version {state.get('version')!r}; start anew")
        rows = state["metrics"]
        if len(rows) != len(self._evidence):
            raise StateMismatchError(
                f"state of {len(rows)} metrics, but {len(self._evidence)} are given; start anew"
            )
        for evidence, row in zip(self._evidence, rows, strict=True):
            evidence.restore(row)
        self._last_end = state["last"]
        self._buckets = int(state["buckets"])
        self._blame = state["blame"]

    def _verdict(self) -> Verdict:
        if self._blame is not None:
            return Verdict.ROLLBACK
        if self._buckets >= self._min_buckets and all(
            self._safe(evidence) for evidence in self._evidence if not evidence.spec.harm_only
        ):
            return Verdict.PROMOTE
        return Verdict.CONTINUE

    def _safe(self, evidence: MetricEvidence) -> bool:
        decides = self._mode == "superiority" and (
            evidence.spec.primary or len(self._evidence) == 1
        )
        log_e = evidence.log_e_superiority if decides else evidence.log_e_noninferiority
        return log_e >= self._promotion_threshold and evidence.recently_within_margin

    def _log_e_rollback(self) -> float:
        return log_sum_exp(self._log_weights + [each.log_e_harm for each in self._evidence])

    def _most_harmed(self) -> str:
        weighed = self._log_weights + [each.log_e_harm for each in self._evidence]
        return self._evidence[int(np.argmax(weighed))].spec.name


def cut_at(bucket_share: float, risk: float) -> float:
    """Return the most that one bucket adds to a log e-value that is held against `risk`."""
    return bucket_share * log(1.0 / risk) if bucket_share < 1.0 else inf


def risk_of_attempt(risk: float, attempt: int) -> float:
    """Return what attempt 0, 1, 2, … at the same question may risk: half of the one before.

    All of them together err with probability at most 2 * risk, so trying again until it passes
    is no way round.
    """
    return risk / 2.0**attempt


def _check_specs(specs: Sequence[MetricSpec], mode: Mode) -> None:
    if not specs:
        raise ValueError("there is nothing to judge by: give at least one metric")
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise ValueError(f"each metric needs a name of its own, got {names}")
    if mode not in {"noninferiority", "superiority"}:
        raise ValueError(f"mode is 'noninferiority' or 'superiority', got {mode!r}")
    if all(spec.harm_only for spec in specs):
        raise ValueError("all metrics are harm_only: nothing could ever promote")
    primaries = [spec.name for spec in specs if spec.primary and not spec.harm_only]
    if mode == "superiority" and len(specs) > 1 and not primaries:
        raise ValueError("mode 'superiority' needs a metric with primary=True")


def _checked(row: BucketCounts) -> tuple[float, float, float, float, float]:
    if len(row) not in {4, 5}:
        raise ValueError(f"a metric's counts are (n, bad, n, bad[, phi]), got {row}")
    if not all(isfinite(value) and value >= 0.0 for value in row):
        raise ValueError(f"counts are finite and not negative, got {row}")
    n_a, x_a, n_b, x_b = (float(value) for value in row[:4])
    phi = max(1.0, float(row[4])) if len(row) == 5 else 1.0  # noqa: PLR2004  the optional phi
    return n_a, min(x_a, n_a), n_b, min(x_b, n_b), phi
