"""Where mutants are made: a copy of the sources and tests in `.mutants/`, never the checkout.

mutmut changes the functions and methods of the copy, one change a mutant. It leaves alone what has
a decorator, so properties are written there as `name = property(name)`. What stands outside of
functions (constants, defaults of fields) it does not change, nor do we let it reword the messages
of exceptions. A copy that is still there is gone on with: only functions that have changed
since, and survivors, are tried again.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import libcst as cst
from libcst import matchers

from tests.mutation.packages import ROOT, Package

_SETTINGS: Final = """\
[tool.mutmut]
source_paths = ["shieldx"]
only_mutate = {sources}
do_not_mutate_patterns = ["^\\\\s*raise "]
pytest_add_cli_args = ["-p", "tests.mutation.dice", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = ["{tests}"]
track_dependencies = false
timeout_multiplier = 10.0
timeout_constant = 2.0
use_git_change_detection = false
use_setproctitle = false

[tool.pytest.ini_options]
pythonpath = ["."]
addopts = ["--import-mode=importlib", "-p", "no:unraisableexception", "-p", "no:threadexception"]
filterwarnings = ["error"]
"""


def set_up(package: Package) -> None:
    """Make the copy, or bring it up to date without touching what has not changed."""
    shop = package.workshop
    wanted = {
        Path("shieldx") / source.relative_to(ROOT / "operator/shieldx"): source
        for source in (ROOT / "operator/shieldx").rglob("*")
        if source.is_file() and "__pycache__" not in source.parts
    }
    wanted |= {
        source.relative_to(ROOT): source
        for folder in ("tests/support", "tests/proofs", "tests/mutation")
        for source in (ROOT / folder).glob("*.py")
    }
    wanted |= {Path(file): ROOT / file for file in package.tests}
    mutated = {Path(source) for source in package.sources}
    changed = False
    for place, source in wanted.items():
        text = source.read_bytes()
        changed |= _write(shop / place, plain_properties(text) if place in mutated else text)
    if changed:  # Which tests reach which functions is to be found out anew.
        (shop / "mutants/mutmut-stats.json").unlink(missing_ok=True)
    settings = _SETTINGS.format(
        sources=[str(source) for source in sorted(mutated)], tests=package.folder
    )
    _write(shop / "pyproject.toml", settings.replace("'", '"').encode())
    for folder in (shop / "shieldx", shop / "tests", shop / "mutants"):
        _clear_away(folder, wanted, shop)
    for source in mutated:
        _forget_what_was_cut_short(shop / "mutants" / source)
        _forget_what_was_only_copied(shop / "mutants" / source, shop / source)


def run(package: Package, *, workers: int) -> None:
    """Try the mutants that are still to be tried."""
    mutmut = Path(sys.executable).parent / "mutmut"
    command = [str(mutmut), "run", "--max-children", str(workers)]
    # pytest begins anew for each mutant: without what these tests need not, in half the time.
    lean = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=package.workshop, env=lean, check=True)


def plain_properties(source: bytes) -> bytes:
    """Write each property as a method and an assignment, which mutmut then mutates."""
    return cst.parse_module(source).visit(_PlainProperties()).bytes


class _PlainProperties(cst.CSTTransformer):
    def leave_FunctionDef(  # noqa: N802  the name is libcst's
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement]:
        del original_node
        only_property = [matchers.Decorator(decorator=matchers.Name("property"))]
        if not matchers.matches(updated_node, matchers.FunctionDef(decorators=only_property)):
            return updated_node
        name = updated_node.name.value
        assignment = cst.parse_statement(f"{name} = property({name})")
        return cst.FlattenSentinel([updated_node.with_changes(decorators=()), assignment])


def _write(path: Path, text: bytes) -> bool:
    if path.exists() and path.read_bytes() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return True


def _forget_what_was_cut_short(mutants: Path) -> None:
    """Begin a file anew whose results were half written when a run was killed."""
    results = mutants.with_name(f"{mutants.name}.meta")
    try:
        json.loads(results.read_bytes())
    except (FileNotFoundError, ValueError):
        mutants.unlink(missing_ok=True)
        results.unlink(missing_ok=True)


def _forget_what_was_only_copied(mutants: Path, source: Path) -> None:
    """Let mutmut change a file that it has copied as it is, while others only were mutated."""
    if mutants.exists() and mutants.read_bytes() == source.read_bytes():
        mutants.unlink()


def _clear_away(folder: Path, wanted: Iterable[Path], shop: Path) -> None:
    places = set(wanted)
    for path in folder.rglob("*.py"):
        place = path.relative_to(shop)
        if place.parts[0] == "mutants":
            place = Path(*place.parts[1:])
        if place not in places:
            path.unlink()
