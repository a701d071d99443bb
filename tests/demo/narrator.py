"""Turns an experiment's status into the lines that a person would want to see as it happens."""

from typing import Any, Final

type Json = dict[str, Any]

ENDED: Final = frozenset({"Promoted", "RolledBack"})


def changes(before: Json, after: Json) -> list[str]:
    """Say what is new, the most important first; nothing where only times have moved."""
    lines = []
    if after.get("phase") != before.get("phase"):
        lines.append(f"[bold]{after.get('phase')}[/bold]")
    if weight(after) != weight(before) and weight(after):
        lines.append(weight(after))
    if evidence(after) != evidence(before) and evidence(after):
        lines.append(evidence(after))
    if after.get("decision") != before.get("decision") and after.get("decision"):
        lines.append(f"[italic]{after['decision']}[/italic]")
    return lines


def weight(status: Json) -> str:
    """Say which share of the traffic the challenger has."""
    step = status.get("step", {})
    if not step.get("index") or status.get("phase") not in {"Stepping", "Promoting"}:
        return ""
    return (
        f"step {step['index']} of {step['count']}: {step.get('actual', 0)} % of the pods "
        f"are the challenger's (asked: {step['weight']} %)"
    )


def evidence(status: Json) -> str:
    """Say what was counted on both sides, and what it is worth."""
    if status.get("phase") != "Stepping":
        return ""
    return "; ".join(_metric(metric) for metric in status.get("metrics", []))


def _metric(metric: Json) -> str:
    return (
        f"{metric['name']}: champion {_share(metric.get('champion', {}))}, "
        f"challenger {_share(metric.get('challenger', {}))}; "
        f"evidence of harm {metric.get('evidenceOfHarm', '-')}, "
        f"of safety {metric.get('evidenceOfSafety', '-')}, "
        f"P(worse) {metric.get('probabilityWorse', '-')}"
    )


def _share(counted: Json) -> str:
    requests, bad = counted.get("requests", 0), counted.get("bad", 0)
    rate = f" ({100 * bad / requests:.1f} %)" if requests else ""
    return f"{bad} of {requests}{rate}"
