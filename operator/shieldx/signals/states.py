"""What evidence is good for: absence has a state and a reason, and is never a number; pure."""

from dataclasses import dataclass
from enum import StrEnum


class EvidenceState(StrEnum):
    """What a bucket, or the present, is good for; only the last may change anything."""

    INSUFFICIENT = "Insufficient"
    STALE = "Stale"
    PROVIDER_ERROR = "ProviderError"
    SUFFICIENT = "Sufficient"


class EvidenceReason(StrEnum):
    """Why."""

    COLLECTING = "Collecting"
    NO_PODS = "NoPods"
    NO_TRAFFIC = "NoTraffic"
    NOT_SCRAPED = "NotScraped"
    NO_SERIES = "NoSeries"
    NO_LABEL = "NoLabel"
    AMBIGUOUS = "Ambiguous"
    MALFORMED = "Malformed"
    NO_RELAY = "NoRelay"
    TOO_OLD = "TooOld"
    COUNTED = "Counted"


type Why = tuple[EvidenceState, EvidenceReason, str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A state, why, and what to say to people."""

    state: EvidenceState
    reason: EvidenceReason
    message: str
