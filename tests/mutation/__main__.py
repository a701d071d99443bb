"""`make mutants`: break the pure cores one small change at a time, and see whether a test notices.

Its exit code is the truth: 0 only if in each package at least nine mutants of ten are killed,
each survivor is on the list of those that may live, and nobody is on it who does not.
"""

import argparse
import platform
import subprocess
import sys
from importlib.metadata import version
from typing import Final

from tests.mutation.findings import LEAST_KILLED, Findings, judge, try_again
from tests.mutation.packages import PACKAGES, ROOT, Package
from tests.mutation.workshop import run, set_up
from tests.proofs.page import write_block

PAGE: Final = ROOT / "docs" / "mutants.md"


def main() -> None:
    """Try all mutants of the packages that are asked for, and write what became of them."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("package", nargs="?", choices=[each.name for each in PACKAGES])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--judge-only", action="store_true", help="try none, read what there is")
    asked = parser.parse_args()
    bad = 0
    for each in PACKAGES:
        if asked.package in {None, each.name}:
            bad += not attend(each, asked.workers, tries=not asked.judge_only)
    sys.exit(1 if bad else 0)


def attend(each: Package, workers: int, *, tries: bool) -> bool:
    """Mutate one package; return whether what is found is good."""
    if tries:
        set_up(each)
        try_again(each)
        run(each, workers=workers)
    found = judge(each)
    for name, change in found.unpardoned:
        say(f"\nALIVE {change.function}  ({name})\n  - {change.was}\n  + {change.now}")
    for change in found.unneeded:
        say(f"\nLISTED, BUT DEAD OR GONE {change.function}\n  - {change.was}\n  + {change.now}")
    say(f"\n{table(found)}\n")
    say(
        f"{each.name}: {found.killed:.1%} killed ({LEAST_KILLED:.0%} asked), "
        f"{len(found.unpardoned)} survivors without a reason, "
        f"{len(found.unneeded)} reasons without a survivor"
    )
    if found.good:
        made_by = f"With mutmut {version('mutmut')} and Python {platform.python_version()}"
        text = f"{table(found)}\n\n{made_by}, of {state_of(each)}.\n\n{reasons(found)}"
        write_block(PAGE, each.name, text, "make mutants")
    return found.good


def table(found: Findings) -> str:
    """Write one row a file."""
    lines = ["| file | mutants | killed | of them by the clock | |", "|---|---|---|---|---|"]
    for each in found.tallies:
        share = each.killed / each.mutants
        lines.append(
            f"| {each.file} | {each.mutants} | {each.killed} | {each.out_of_time} | {share:.1%} |"
        )
    mutants, killed, late = (
        sum(getattr(each, what) for each in found.tallies)
        for what in ("mutants", "killed", "out_of_time")
    )
    lines.append(f"| **all** | {mutants} | {killed} | {late} | **{found.killed:.1%}** |")
    return "\n".join(lines)


def reasons(found: Findings) -> str:
    """Write why the survivors may live, those that change nothing first."""
    lines = ["| where | how many | | why they may live |", "|---|---|---|---|"]
    for each in sorted(found.pardons, key=lambda pardon: pardon.worth):
        places = ", ".join(dict.fromkeys(f"`{change.function}`" for change in each.changes))
        lines.append(f"| {places} | {len(each.changes)} | {each.worth} | {each.why} |")
    return "\n".join(lines)


def state_of(package: Package) -> str:
    """Name the commit that changed one of the mutated files last."""
    files = [f"operator/{source}" for source in package.sources]
    log = ["git", "log", "--max-count=1", "--format=%h of %as", "--abbrev=7", "--", *files]
    last = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=True)
    diff = ["git", "diff", "--quiet", "HEAD", "--", *files]
    changed = subprocess.run(diff, cwd=ROOT, check=False).returncode
    return f"the files as of commit {last.stdout.strip()}{', changed since' if changed else ''}"


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
