"""How verbs write what they found: for people, or as JSON or YAML for programs.

Text fits the terminal it is written to and wraps in a narrow one; it is coloured only where that
terminal shows colours and `NO_COLOR` is not set.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Format(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


def write(answer: Mapping[str, Any], text: "Page", form: Format) -> None:
    """Write an answer to standard output, as `text` for people or as the values themselves."""
    match form:
        case Format.TEXT:
            text.write(Console(highlight=False))
        case Format.JSON:
            sys.stdout.write(json.dumps(answer, indent=2, allow_nan=False) + "\n")
        case Format.YAML:
            yaml.safe_dump(answer, sys.stdout, sort_keys=False, allow_unicode=True)


class Page:
    """Paragraphs and tables, in the order in which they were added."""

    def __init__(self) -> None:
        self._parts: list[Text | Table] = []

    def say(self, text: str, style: str = "") -> None:
        """Add a paragraph; no part of it is markup."""
        self._parts.append(Text(text, style=style))

    def tabulate(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table whose first column is words and the others numbers."""
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for at, head in enumerate(heads):
            table.add_column(head, justify="right" if at else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._parts.append(table)

    def describe(self, rows: Iterable[tuple[str, str]]) -> None:
        """Add names, indented, with what is said of each; it wraps beside its name."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, said in rows:
            grid.add_row(Text(f"  {name}"), Text(said))
        self._parts.append(grid)

    def write(self, console: Console) -> None:
        for part in self._parts:
            console.print(part)


def percent(share: float) -> str:
    """Return a share as a percentage with three significant digits, `0.125%`."""
    return f"{float(f'{100 * share:.3g}'):g}%"


def finite(value: float) -> float | None:
    """Return a number that JSON knows, or None for one that it does not."""
    return value if math.isfinite(value) else None
