"""Status conditions in the form that kubectl, Argo CD and kstatus read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Truth(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"

    @classmethod
    def of(cls, claim: bool) -> "Truth":  # noqa: FBT001 - a claim is what this is about.
        return cls.TRUE if claim else cls.FALSE


@dataclass(frozen=True, slots=True)
class Condition:
    """One claim about an object, why it holds or not, and what to do."""

    type: str
    status: Truth
    reason: StrEnum
    message: str


def merged(
    conditions: Iterable[Condition],
    before: Sequence[Mapping[str, Any]],
    *,
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """Render conditions for a status; a transition time moves only when the status does.

    `before` is what the live status says. An unchanged world renders an unchanged status, so
    that writing it wakes nobody.
    """
    known = {old["type"]: old for old in before}
    rendered = []
    for condition in conditions:
        old = known.get(condition.type)
        kept = old is not None and old["status"] == condition.status
        rendered.append(
            {
                "type": condition.type,
                "status": str(condition.status),
                "reason": str(condition.reason),
                "message": condition.message,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"]
                if old is not None and kept
                else now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    return rendered
