"""Charts rendered in this process, by Helm's own library."""

from pathlib import Path
from typing import Any, Final

import helm_python
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
OPERATOR_CHART: Final = ROOT / "charts" / "shieldx-operator"

type Manifest = dict[str, Any]


def render(
    chart: Path, values: dict[str, Any] | None = None, namespace: str = "shieldx-system"
) -> list[Manifest]:
    """Return the objects that an installation with these values would create."""
    with helm_python.Chart.load(str(chart)) as loaded:
        rendered = loaded.render(values or {}, name="shieldx", namespace=namespace)
    return [
        document
        for name, text in sorted(rendered.items())
        if not name.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]


def lint(chart: Path) -> list[str]:
    """Return what `helm lint --strict` has to say beyond information."""
    report = helm_python.lint(str(chart), strict=True)
    told = [str(m["error"]) for m in report["messages"] if int(m["severity"]) > 1]
    return told + [str(error) for error in report["errors"]]
