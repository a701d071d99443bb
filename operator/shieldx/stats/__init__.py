"""Evidence about rates: numbers in, a verdict with proven error rates out. Pure."""

from shieldx.stats.dispersion import Counts, Dispersion
from shieldx.stats.engine import DecisionEngine, Report, Verdict
from shieldx.stats.metric import (
    RESTARTS,
    MetricReport,
    MetricSpec,
    StateMismatchError,
    half_way_tolerance,
)

__all__ = [
    "RESTARTS",
    "Counts",
    "DecisionEngine",
    "Dispersion",
    "MetricReport",
    "MetricSpec",
    "Report",
    "StateMismatchError",
    "Verdict",
    "half_way_tolerance",
]
