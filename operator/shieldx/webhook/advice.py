"""What to say to someone who asks for an experiment that will hardly end, or not begin; pure.

Never a refusal: they may know better. The API server checks the shape after this was asked, so
what cannot be read is left to it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shieldx.judgement.beginning import asked
from shieldx.judgement.traffic import LONGEST_WARNING, shortages
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.signals.selector import InvalidSelectorError


def advise(experiment: Mapping[str, Any]) -> list[str]:
    """Return the warnings for a ShadowExperiment as it is about to be stored."""
    try:
        spec = ShadowExperimentSpec.parse(experiment["spec"])
        lately = _lately(experiment.get("status") or {})
        said = [*_unreadable(spec), *map(str, shortages(spec, lately))]
        return [each[:LONGEST_WARNING] for each in said]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return []


def _unreadable(spec: ShadowExperimentSpec) -> Iterator[str]:
    """Yield what is wrong with selectors: the API server knows their form and not their meaning."""
    for guardrail in spec.guardrails:
        try:
            asked(guardrail)
        except InvalidSelectorError as malformed:
            yield f"guardrail {guardrail.name}: bad cannot be used: {malformed}"


def _lately(status: Mapping[str, Any]) -> dict[str, float]:
    """Return the requests a second that the last trial counted, by guardrail."""
    return {
        each["name"]: float(each["requestsPerSecond"])
        for each in status.get("metrics") or []
        if "requestsPerSecond" in each
    }
