"""Runs the tests of the ledger on every PostgreSQL that it supports, one after the other.

Each version ends with pytest's closing line. A version that cannot be had fails the run, unless
`SKIP` names it: `make test-matrix SKIP="16 17"`.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.matrix.servers import NEWEST, OLDEST, MissingError, full_version, programs
from tests.support.postgres import VARIABLE

TESTS: Final = "tests/postgres"
CHECKOUT: Final = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run all versions; exit with 0 only if each that was not skipped has passed."""
    parser = argparse.ArgumentParser(prog="make test-matrix", description=__doc__)
    parser.add_argument("--skip", nargs="*", type=int, default=[])
    parser.add_argument("tests", nargs="*", default=[TESTS])
    asked = parser.parse_args()
    failed = [
        version
        for version in range(OLDEST, NEWEST + 1)
        if version not in asked.skip and not passes(version, asked.tests)
    ]
    for version in asked.skip:
        say(f"PostgreSQL {version}: NOT TESTED, since SKIP names it")
    sys.exit(1 if failed else 0)


def passes(version: int, tests: list[str]) -> bool:
    """Run the tests on one version, and say how they ended."""
    try:
        folder = programs(version)
        exact = full_version(folder)
    except MissingError as error:
        say(f"PostgreSQL {version}: CANNOT BE HAD: {error}; or leave it out: SKIP={version}")
        return False
    say(f"PostgreSQL {exact} ({folder}) ...")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests],
        cwd=CHECKOUT,
        env={**os.environ, VARIABLE: str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        say(run.stdout)
    say(f"PostgreSQL {exact}: {(run.stdout.strip().splitlines() or ['no word'])[-1]}")
    return run.returncode == 0


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
