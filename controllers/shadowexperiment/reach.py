"""Whether requests reach the challenger at present, told from bucket to bucket; pure.

A challenger with little traffic has buckets without a request, and is reached all the same. So
silence counts only once it is longer than chance explains at the traffic that there was, and a
single request ends it. What nobody could see is neither traffic nor silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

from controllers.shadowexperiment.manifests import Manifest
from shieldx.signals.buckets import Bucket
from shieldx.signals.states import EvidenceReason, EvidenceState

# No state is changed by fewer buckets without a request, or without a look.
FEWEST_BUCKETS: Final = 3
# So many requests are lacking when silence is no chance: more than random ones need, since the
# mean that they are held against is of a few buckets.
LACKING_REQUESTS: Final = 10.0
# A bucket counts half as much as one that is so many buckets younger.
HALF_LIFE_BUCKETS: Final = 4.0


class Reached(StrEnum):
    """What is known at present of requests to the challenger."""

    YES = "requests reach it"
    NO = "it gets none, and the champion does"
    NOBODY = "it gets none, nor does the champion"
    UNSEEN = "nobody saw lately, or not for long enough"


@dataclass(frozen=True, slots=True)
class Reach:
    """Requests of the challenger in a bucket, lately, and the buckets since there were any.

    `per_bucket` is None before the first; of the `silent` buckets `alone` are those in which the
    champion had requests. `unseen` are the newest ones of which nothing is known; after a few,
    what was known before them is forgotten.
    """

    per_bucket: float | None = None
    silent: int = 0
    alone: int = 0
    unseen: int = 0

    @classmethod
    def parse(cls, status: Mapping[str, Any]) -> Self:
        """Read what `render` wrote; nothing at all before a trial."""
        lately = status.get("perBucket")
        return cls(
            per_bucket=None if lately is None else float(lately),
            silent=status.get("silent", 0),
            alone=status.get("alone", 0),
            unseen=status.get("unseen", 0),
        )

    def render(self) -> Manifest:
        """Return the part of the status that `parse` reads; None removes a field."""
        return {
            "perBucket": None if self.per_bucket is None else f"{self.per_bucket:g}",
            "silent": self.silent,
            "alone": self.alone,
            "unseen": self.unseen,
        }

    def after(self, bucket: Bucket) -> Self:
        """Return what is known after one more bucket."""
        if requests := _most(bucket, "challenger"):
            return replace(self, per_bucket=self._lately(requests), silent=0, alone=0, unseen=0)
        if not any(
            metric.state is EvidenceState.INSUFFICIENT
            and metric.reason is not EvidenceReason.COLLECTING
            for metric in bucket.metrics.values()
        ):
            unseen = self.unseen + 1
            known = self if unseen < FEWEST_BUCKETS else type(self)()
            return replace(known, unseen=unseen)
        alone = self.alone + (_most(bucket, "champion") > 0)
        return replace(self, silent=self.silent + 1, alone=alone, unseen=0)

    @property
    def reached(self) -> Reached:
        """What that amounts to."""
        usual = self.per_bucket
        quiet = usual is None or self.silent * usual >= LACKING_REQUESTS
        if self.silent >= FEWEST_BUCKETS and quiet:
            return Reached.NO if self.alone >= FEWEST_BUCKETS else Reached.NOBODY
        return Reached.UNSEEN if usual is None else Reached.YES

    def _lately(self, requests: float) -> float:
        """Return the mean a bucket, of which the silent ones before these requests are part.

        After a silence that was no chance it is another traffic.
        """
        buckets = self.silent + 1
        goes_on = self.reached is Reached.YES
        kept = 0.5 ** (buckets / HALF_LIFE_BUCKETS) if goes_on else 0.0
        mean = kept * (self.per_bucket or 0.0) + (1 - kept) * requests / buckets
        return float(f"{mean:.3g}")  # As the status holds it, so that a restart changes nothing.


def _most(bucket: Bucket, arm: str) -> float:
    """Return the requests of an arm by the guardrail that counts most of them."""
    counts = (getattr(metric, arm) for metric in bucket.metrics.values())
    return max((sum(n for n, _ in pods.values()) for pods in counts), default=0.0)
