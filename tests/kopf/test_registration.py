"""What is registered with kopf keeps to the house's rules, and to the rights of the chart."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.charts import OPERATOR_CHART, render

# In a process of its own: decorators register with one registry for the whole process.
PROGRAM = """
import json
import controllers.main
import kopf
registry = kopf.get_default_registry()
print(json.dumps({
    "changing": sorted(h.reason.value for h in registry._changing._handlers),
    "guarded": all(h.when is not None for h in registry._changing._handlers),
    "spawning": sorted(type(h).__name__ for h in registry._spawning._handlers),
    "others": len(registry._indexing._handlers) + len(registry._webhooks._handlers),
    "watched": sorted({
        f"{h.selector.any_name}.{h.selector.group}" if h.selector.group else h.selector.any_name
        for h in registry._watching._handlers
    }),
}))
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def registered() -> dict[str, Any]:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"PYTHONPATH": "operator:.", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(said.stdout))


def test_only_events_daemons_and_guarded_deletions_are_handled(registered: dict[str, Any]) -> None:
    # Anything else would write annotations that fight GitOps and break restores.
    assert set(registered["changing"]) == {"delete"}
    assert registered["guarded"] is True
    assert set(registered["spawning"]) == {"DaemonHandler"}
    assert registered["others"] == 0


def test_every_kind_that_is_watched_may_be_watched(registered: dict[str, Any]) -> None:
    may = {
        f"{resource}.{group}" if group else resource
        for manifest in render(OPERATOR_CHART)
        if (manifest["kind"], manifest["metadata"]["name"]) == ("ClusterRole", "shieldx-operator")
        for rule in manifest["rules"]
        if {"list", "watch"} <= set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }

    assert set(registered["watched"]) <= may
    assert "creditledgers.shieldx.io" in registered["watched"]
