"""A pytest plugin for mutants: the dice are loaded, so that a mutant lives or dies once for all.

Elsewhere the tests roll fresh ones. Here each seed that a test leaves to chance is the same in
every run, and Hypothesis walks fewer and always the same ways. A mutant is shown to the tests that
judge its module, quick ones first.
"""

import functools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings

from tests.mutation.packages import PACKAGES

_SEED = 20_260_101
_EXAMPLES = 12  # of a state machine, of some fifty steps each

_PHASES = (Phase.explicit, Phase.generate)  # one failure is enough, nobody reads the shortest
settings.register_profile("mutants", derandomize=True, database=None, phases=_PHASES)
settings.load_profile("mutants")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let state machines walk fewer ways than they ask for themselves."""
    case: Any = getattr(item, "cls", None)
    own = getattr(case, "settings", None)
    if isinstance(own, settings):
        case.settings = settings(own, max_examples=_EXAMPLES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is too slow and, where there is a mutant, what does not judge its module."""
    slow = tuple(f"{each.folder}/{test}" for each in PACKAGES for test in each.too_slow)
    items[:] = [item for item in items if not item.nodeid.startswith(slow)]
    mutant = os.environ.get("MUTANT_UNDER_TEST", "")
    package, _, module = mutant.partition(".x")[0].removeprefix("shieldx.").partition(".")
    judges = {each.name: each.judges for each in PACKAGES}.get(package, {}).get(module)
    if judges is not None:
        seconds = json.loads(Path("mutmut-stats.json").read_text())["duration_by_test"]
        mine = [item for item in items if item.path.stem in judges]
        items[:] = sorted(mine, key=lambda item: seconds.get(item.nodeid, 0.0))


@pytest.fixture(autouse=True)
def _loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    roll, sow = np.random.default_rng, np.random.SeedSequence
    monkeypatch.setattr(np.random, "SeedSequence", functools.partial(sow, _SEED))
    monkeypatch.setattr(np.random, "default_rng", lambda seed=_SEED: roll(seed))
