"""Each import contract refuses what it forbids: an import planted in a copy must be seen."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
LINTER: Final = Path(sys.executable).with_name("lint-imports")
CONTRACTS: Final[list[dict[str, Any]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())[
    "tool"
]["importlinter"]["contracts"]

# By contract: the module that breaks it, and the import with which it does.
PLANTS: Final = {
    "layers": ("operator/shieldx/stats/__init__.py", "import shieldx.kube"),
    "kinds": ("controllers/creditledger/plan.py", "import controllers.shadowexperiment"),
    "pure": ("operator/shieldx/resources/conditions.py", "import asyncio"),
    "kopf": ("controllers/loop.py", "import kopf"),
    "kubernetes": ("controllers/loop.py", "import kubernetes"),
    "asyncpg": ("operator/shieldx/sidecar/server.py", "import asyncpg"),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for source in ("operator", "controllers"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / source, tmp_path / source, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def linted(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINTER, "--no-cache", *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": "operator:.", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_has_a_plant() -> None:
    assert PLANTS.keys() == {contract["id"] for contract in CONTRACTS}


def test_the_code_as_it_is_keeps_every_contract(copy: Path) -> None:
    report = linted(copy)

    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize("contract", PLANTS)
def test_a_planted_import_breaks(contract: str, copy: Path) -> None:
    module, planted = PLANTS[contract]
    with (copy / module).open("a") as file:
        file.write(f"\n{planted}\n")

    report = linted(copy, f"--contract={contract}")

    assert report.returncode == 1, report.stdout + report.stderr
    assert "BROKEN" in report.stdout
