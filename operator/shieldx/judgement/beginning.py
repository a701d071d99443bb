"""What a run is asked, and the champion's rates that are frozen before it counts; pure."""

from typing import Final

from shieldx.resources.shadowexperiment import BadShare, Guardrail, Slowness
from shieldx.signals.baseline import Baseline
from shieldx.signals.readings import Counter, Histogram, Question
from shieldx.signals.selector import EVERYTHING, Selector
from shieldx.stats import telling_of

# So many boundaries of a histogram are judged at most: each costs a little state and time.
MOST_BOUNDARIES: Final = 8


def asked(guardrail: Guardrail) -> Question:
    """Return what to read for a guardrail; InvalidSelectorError where its `bad` means nothing."""
    match guardrail.measure:
        case BadShare(counter, bad, among, ledger, of):
            bad_ones, counted = (
                Selector.parse(text) if text else EVERYTHING for text in (bad, among)
            )
            return Counter(guardrail.name, counter, bad_ones, counted, ledger, of)
        case Slowness(histogram):
            return Histogram(guardrail.name, histogram)


def frozen_rates(guardrail: Guardrail, baseline: Baseline) -> dict[str, float]:
    """Return the champion's rates by metric; nothing where they cannot be assumed."""
    match guardrail.measure:
        case BadShare():
            rate = baseline.base_rate(guardrail.name, guardrail.base_rate)
            return {guardrail.name: rounded(rate)}
        case Slowness(quantile=quantile):
            slower = baseline.slower(guardrail.name)
            telling = telling_of(slower, quantile, MOST_BOUNDARIES) if slower else {}
            return {name: rounded(share) for name, share in telling.items()}


def rounded(rate: float) -> float:
    """Return the rate as it is stored: what is read back must ask the same question."""
    return float(f"{rate:.6g}")
