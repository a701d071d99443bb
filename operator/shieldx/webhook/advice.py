"""What to say to someone who asks for an experiment that will hardly end; pure.

Never a refusal: they may know better. The API server checks the shape after this was asked, so
what cannot be read is left to it.
"""

from collections.abc import Mapping
from typing import Any

from shieldx.judgement.traffic import LONGEST_WARNING, shortages
from shieldx.resources.shadowexperiment import ShadowExperimentSpec


def advise(experiment: Mapping[str, Any]) -> list[str]:
    """Return the warnings for a ShadowExperiment as it is about to be stored."""
    try:
        spec = ShadowExperimentSpec.parse(experiment["spec"])
        lately = _lately(experiment.get("status") or {})
        return [str(each)[:LONGEST_WARNING] for each in shortages(spec, lately)]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return []


def _lately(status: Mapping[str, Any]) -> dict[str, float]:
    """Return the requests a second that the last trial counted, by guardrail."""
    return {
        each["name"]: float(each["requestsPerSecond"])
        for each in status.get("metrics") or []
        if "requestsPerSecond" in each
    }
