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
    if after.get("decision") and after["decision"] != before.get("decision"):
        probability = after.get("summary", {}).get("probabilityOk")
        known = f"; P(ok) {probability}" if probability else ""
        lines.append(f"[italic]{after['decision']}{known}[/italic]")
    return lines


def weight(status: Json) -> str:
    """Say which share of the traffic the challenger has."""
    step = status.get("step", {})
    if not step.get("index") or status.get("phase") != "Stepping":
        return ""
    return (
        f"step {step['index']} of {step['count']}: {step.get('actual', 0)} % of the pods "
        f"are the challenger's (asked: {step['weight']} %)"
    )
