"""Tales that were told before, so that stories can be played again one at a time."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from tests.scenarios.stories import BLIND, STORIES, Run, Told
from tests.support.cluster.layout import CHECKOUT

FILE: Final = CHECKOUT / ".run" / "scenarios.json"
_BY_KEY: Final = {story.key: story for story in (*STORIES, BLIND)}


def read(file: Path = FILE) -> list[Told]:
    """Return what was told; nothing where nothing was."""
    if not file.exists():
        return []
    return [_told(**kept) for kept in json.loads(file.read_text())]


def write(tales: Sequence[Told], file: Path = FILE) -> None:
    """Keep all tales."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(map(facts, tales)), indent=1))


def facts(told: Told) -> dict[str, object]:
    """Return a tale as JSON has it."""
    known = {name: value for name, value in asdict(told).items() if name != "of"}
    return {"story": told.of.story.key, "run": told.of.number, **known}


def _told(story: str, run: int, **known: Any) -> Told:
    told = Told(of=Run(_BY_KEY[story], run), **known)
    return replace(told, faults=tuple(told.faults))
