"""The rules that the definition of a ShadowExperiment has beside its shape, without an API server.

They are read from the definition, with the words that the API server has for them. Most are limits
of one field, which are understood as they stand; for the few that are more, what they mean is
written here. A test holds each against a file that breaks it.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import re2

from shieldx.resources.durations import parse_duration

type Json = dict[str, Any]

_LONGEST_SAID: Final = 60
_COMPARED: Final = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_MATCHES: Final = re.compile(r"(!?)self\.matches\('(.*)'\)")
_LIMIT: Final = re.compile(
    r"(?P<what>self|size\(self\)|duration\(self\)|double\(self(?:\.replace\('%', ''\))?\))"
    r" (?P<how>[<>]=?) (?:duration\('(?P<duration>\w+)'\)|(?P<number>[0-9.]+))"
)
# Of updates: a file has nothing before it.
_OF_CHANGES: Final = frozenset({"self == oldSelf"})


def broken_rule(schema: Json, document: Json) -> str | None:
    """Return what the first rule says that a document of the right shape breaks, and where."""
    return next(_broken(schema, document, ""), None)


def rules_of(schema: Json) -> Iterator[str]:
    """Yield the rules of a schema and of all that is in it."""
    yield from (each["rule"] for each in schema.get("x-kubernetes-validations", []))
    for inner in (*schema.get("properties", {}).values(), schema.get("items")):
        if inner is not None:
            yield from rules_of(inner)


def is_known(rule: str) -> bool:
    """Whether a rule is checked here, or is of updates only."""
    return rule in _MEANINGS or rule in _OF_CHANGES or all(map(_term, rule.split(" && ")))


def _broken(schema: Json, value: Any, path: str) -> Iterator[str]:
    """Yield what is broken, the smallest part first: a limit of one field before those of two."""
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from _broken(inner, value[name], f"{path}.{name}" if path else name)
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _broken(schema.get("items", {}), item, f"{path}[{at}]")
    for rule in schema.get("x-kubernetes-validations", []):
        if not _holds(rule["rule"], value):
            what = f" is {_quoted(value)}" if not isinstance(value, dict | list) else ""
            yield f"{rule['message']} ({path}{what})" if path else rule["message"]


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}..."


def _holds(rule: str, value: Any) -> bool:
    if rule in _OF_CHANGES:
        return True
    if rule in _MEANINGS:
        return _MEANINGS[rule](value)
    # One after another: what is no duration is not compared with one.
    return all(holds(value) for term in rule.split(" && ") if (holds := _term(term)))


def _term(term: str) -> Callable[[Any], bool] | None:
    """Return what one part of a limit means, None if that is not known."""
    if found := _MATCHES.fullmatch(term):
        negated, pattern = bool(found[1]), re2.compile(found[2].replace(r"\\", "\\"))
        return lambda value: (pattern.search(value) is None) == negated
    if found := _LIMIT.fullmatch(term):
        compared = _COMPARED[found["how"]]
        limit = parse_duration(found["duration"]) if found["duration"] else float(found["number"])
        return lambda value: compared(_measured(found["what"], value), limit)
    return None


def _measured(what: str, value: Any) -> Any:
    if what.startswith("duration"):
        return parse_duration(value)
    if what.startswith("size"):
        return len(value)
    return float(value.removesuffix("%") if isinstance(value, str) else value)


def _ascending(steps: Sequence[Mapping[str, Any]]) -> bool:
    weights = [step["weight"] for step in steps]
    return weights == sorted(set(weights))


def _has_one_port(url: str) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return port is None or port > 0


def _outlasts_a_scrape(spec: Json) -> bool:
    prometheus = spec["metrics"]["source"].get("prometheus")
    if prometheus is None:
        return True
    return parse_duration(spec["decision"]["bucket"]) >= parse_duration(
        prometheus["scrapeInterval"]
    )


def _has_counters(guardrail: Json) -> bool:
    return ("counter" in guardrail) == ("bad" in guardrail or "of" in guardrail)


def _has_one_measure(guardrail: Json) -> bool:
    return len(guardrail.keys() & {"counter", "histogram", "ledgerRef"}) == 1


def _promotes_in_time(decision: Json) -> bool:
    return parse_duration(decision["minDuration"]) <= parse_duration(decision["maxDuration"])


def _waits_for_three_buckets(decision: Json) -> bool:
    waits = parse_duration(decision["noDataAfter"])
    return decision["noData"] == "wait" or waits >= 3 * parse_duration(decision["bucket"])


def _names(labels: Mapping[str, str]) -> bool:
    return all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", it) and it != "__name__" for it in labels)


def _together(one: str, other: str) -> Callable[[Json], bool]:
    return lambda value: (one in value) == (other in value)


def _either(one: str, other: str) -> Callable[[Json], bool]:
    return lambda value: (one in value) != (other in value)


_URL: Final = (
    "self.matches('^https?://[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]{1,5})?"
    "(/[-A-Za-z0-9._~/]*)?$')"
)
_MEANINGS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "size(self.metadata.name) <= 40": lambda it: len(it["metadata"].get("name", "")) <= 40,  # noqa: PLR2004 - as it says.
    "!has(self.metrics.source.prometheus) || duration(self.decision.bucket) >= "
    "duration(self.metrics.source.prometheus.scrapeInterval)": _outlasts_a_scrape,
    "self.all(s, self.filter(t, t.weight == s.weight).size() == 1) && "
    "self.map(s, s.weight).isSorted()": _ascending,
    "has(self.pods) != has(self.prometheus)": _either("pods", "prometheus"),
    f"{_URL} && isURL(self) && (url(self).getPort() == '' || (int(url(self).getPort()) >= 1 && "
    "int(url(self).getPort()) <= 65535))": lambda it: _holds(_URL, it) and _has_one_port(it),
    "self.all(name, name.matches('^[a-zA-Z_][a-zA-Z0-9_]*$') && name != '__name__')": _names,
    "self.all(g, self.filter(h, h.name == g.name).size() == 1)": lambda it: (
        len({each["name"] for each in it}) == len(it)
    ),
    "self.all(g, g.name != 'restarts')": lambda it: "restarts" not in {g["name"] for g in it},
    "[has(self.counter), has(self.histogram), has(self.ledgerRef)].filter(it, it).size() == 1": (
        _has_one_measure
    ),
    "has(self.ledgerRef) == has(self.refusals)": _together("ledgerRef", "refusals"),
    "has(self.counter) == (has(self.bad) || has(self.of))": _has_counters,
    "!has(self.of) || !has(self.counter) || self.of != self.counter": lambda it: (
        "of" not in it or it["of"] != it.get("counter")
    ),
    "has(self.histogram) == has(self.quantile)": _together("histogram", "quantile"),
    "has(self.absolute) != has(self.relative)": _either("absolute", "relative"),
    "!has(self.minDuration) || duration(self.minDuration) <= duration(self.maxDuration)": (
        _promotes_in_time
    ),
    "!has(self.noData) || self.noData == 'wait' || duration(self.noDataAfter) >= "
    "duration(self.bucket) + duration(self.bucket) + duration(self.bucket)": (
        _waits_for_three_buckets
    ),
}
