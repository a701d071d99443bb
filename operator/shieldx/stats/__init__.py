"""Evidence about rates: numbers in, a verdict with proven error rates out. Pure."""

from shieldx.stats.dispersion import Counts, Dispersion
from shieldx.stats.engine import DecisionEngine, Report, Verdict, risk_of_attempt
from shieldx.stats.histogram import (
    HistogramSpec,
    boundary_metrics,
    boundary_name,
    histogram_of,
    named_under,
    telling_of,
)
from shieldx.stats.metric import (
    RESTARTS,
    MetricReport,
    MetricSpec,
    StateMismatchError,
    half_way_tolerance,
)
from shieldx.stats.pairs import PairedEngine, PairedReport
from shieldx.stats.planning import (
    Characteristics,
    Rate,
    operating_characteristics,
    requests_missing,
    requests_to_decide,
)
from shieldx.stats.posterior import probability_of_more
from shieldx.stats.sample_ratio import SampleRatio

__all__ = [
    "RESTARTS",
    "Characteristics",
    "Counts",
    "DecisionEngine",
    "Dispersion",
    "HistogramSpec",
    "MetricReport",
    "MetricSpec",
    "PairedEngine",
    "PairedReport",
    "Rate",
    "Report",
    "SampleRatio",
    "StateMismatchError",
    "Verdict",
    "boundary_metrics",
    "boundary_name",
    "half_way_tolerance",
    "histogram_of",
    "named_under",
    "operating_characteristics",
    "probability_of_more",
    "requests_missing",
    "requests_to_decide",
    "risk_of_attempt",
    "telling_of",
]
