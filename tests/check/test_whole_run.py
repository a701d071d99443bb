"""The promises of `tests/conftest.py`, kept by runs of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).resolve().parents[2]
WORKER: Final = ("-p", "xdist", "-n", "1")
IMPATIENT: Final = "from tests import conftest\nconftest.PATIENCE_SECONDS = 0.5\n"


@contextlib.contextmanager
def run_of(folder: Path, test: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Begin a run of this one test."""
    (folder / "conftest.py").write_text(IMPATIENT)
    (folder / "test_one.py").write_text(test)
    with subprocess.Popen(
        # As a shell begins what it leaves in the background: SIGINT is ignored.
        [
            *("sh", "-c", 'trap "" INT; exec "$0" "$@"', sys.executable),
            *("-m", "pytest", "-q", "-p", "tests.conftest", *arguments, str(folder)),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        try:
            yield run
        finally:
            run.kill()


@pytest.mark.parametrize("arguments", [(), WORKER])
def test_a_skipped_test_fails_the_run(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    test = "import pytest\n\ndef test_one():\n    pytest.skip('no time')\n"

    with run_of(tmp_path, test, *arguments) as run:
        told, _ = run.communicate()

    assert run.returncode == 1
    assert "SKIPPED test_one.py::test_one: this fails the run" in told
    assert "1 skipped in" in told.splitlines()[-1]


def test_a_process_that_outlives_its_test_is_ended_and_fails_the_run(tmp_path: Path) -> None:
    test = "import subprocess\n\ndef test_one():\n    subprocess.Popen(['sleep', '1234'])\n"

    with run_of(tmp_path, test, *WORKER, "-W", "ignore") as run:
        told, _ = run.communicate()

    assert run.returncode == 1
    assert "LEFT OVER, killed: sleep 1234: this fails the run" in told
    assert "1 passed in" in told.splitlines()[-1]


@pytest.mark.parametrize("arguments", [(), WORKER])
def test_a_run_that_is_told_to_end_tidies_up(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    test = f"""
import pathlib, time, pytest

HERE = pathlib.Path({str(tmp_path)!r})

@pytest.fixture
def kept():
    (HERE / "began").touch()
    yield
    (HERE / "tidied").touch()

def test_one(kept):
    time.sleep(1234)
"""

    with run_of(tmp_path, test, *arguments) as run:
        for _ in range(600):
            if (tmp_path / "began").exists():
                break
            time.sleep(0.1)
        run.send_signal(signal.SIGTERM)
        told, _ = run.communicate()

    assert run.returncode == pytest.ExitCode.INTERRUPTED, told
    assert (tmp_path / "tidied").exists()
