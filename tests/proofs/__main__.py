"""Runs the promises with fresh seeds and writes what came out into docs/statistics.md.

Its exit code is the truth: 0 only if no promise was refuted. `--runs` is how many runs a rate is
measured with, `--seed` rolls the same dice again, `--check` writes nothing, `--only-outages`
measures the outages that both versions share, and nothing else; `--only-uneven` those that hit
pods unevenly, with a quarter of the runs.
"""

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import scipy

from tests.proofs import contest, pictures, uneven
from tests.proofs.enumeration import (
    SPECS,
    largest_expectations,
    largest_expectations_after_jumps,
)
from tests.proofs.page import write_block
from tests.proofs.promises import PROOFS, Finding, outages_cost_little

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"


def main() -> None:
    """Run everything, one after the other, on one core."""
    parser = argparse.ArgumentParser(prog="make proofs", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only-outages", action="store_true")
    parser.add_argument("--only-uneven", action="store_true")
    asked = parser.parse_args()
    fresh = int(np.random.SeedSequence().generate_state(1)[0])
    seed = fresh if asked.seed is None else int(asked.seed)
    say(f"seed {seed}, {asked.runs} runs a rate")
    begun = time.monotonic()
    if asked.only_uneven:
        measure_uneven(seed, asked.runs // 4, write=not asked.check)
        return
    outages = told(outages_cost_little(np.random.default_rng([seed, 12]), asked.runs))
    if not asked.check:
        minutes = (time.monotonic() - begun) / 60.0
        write_block(PAGE, "outages", f"{table(outages)}\n\n{conditions(seed, asked.runs, minutes)}")
    if asked.only_outages:
        judge(outages, seed)
    findings = [
        finding
        for number, proof in enumerate(PROOFS, start=1)
        for finding in told(proof(np.random.default_rng([seed, number]), asked.runs))
    ]
    measure_uneven(seed, asked.runs // 4, write=not asked.check)
    worst = enumerated()
    comparison = contest.table(np.random.default_rng([seed, 0]), asked.runs)
    say(comparison)
    minutes = (time.monotonic() - begun) / 60.0
    if not asked.check:
        write_block(PAGE, "promises", table(findings))
        write_block(PAGE, "enumeration", worst)
        write_block(PAGE, "peers", comparison)
        write_block(PAGE, "run", conditions(seed, asked.runs, minutes))
        pictures.draw(PAGE.parent / "pictures", np.random.default_rng([seed, 11]))
    say(f"{minutes:.1f} min")
    judge(findings + outages, seed)


def measure_uneven(seed: int, runs: int, *, write: bool) -> None:
    """Measure what nothing is promised of."""
    begun = time.monotonic()
    lines = []
    for line in uneven.table(np.random.default_rng([seed, 13]), runs):
        lines.append(line)
        say(line)
    minutes = (time.monotonic() - begun) / 60.0
    if write:
        text = "\n".join(lines)
        write_block(PAGE, "uneven", f"{text}\n\n{conditions(seed, runs, minutes)}")


def judge(findings: list[Finding], seed: int) -> NoReturn:
    broken = [finding for finding in findings if not finding.holds]
    say(f"{len(findings) - len(broken)} of {len(findings)} hold, seed {seed}")
    sys.exit(1 if broken else 0)


def told(findings: Iterator[Finding]) -> list[Finding]:
    """Print each finding as it comes."""
    kept = []
    for finding in findings:
        say(f"{'ok  ' if finding.holds else 'FAIL'} {row(finding)}")
        kept.append(finding)
    return kept


def enumerated() -> str:
    """The largest expectation of every claim over all buckets of up to 12 by 12 requests."""
    lines = [
        "| metric | phi | cut | harm | non-inferiority | superiority |",
        "|---|---|---|---|---|---|",
    ]
    for spec in SPECS:
        for phi, share in ((1.0, 1.0), (2.5, 1.0), (1.0, 1 / 3)):
            worst = largest_expectations(spec, range(13), phi, share)
            cells = " | ".join(f"1 {each - 1.0:+.0e}" for each in worst)
            cut = "none" if share == 1.0 else "a third"
            lines.append(f"| {spec.name} | {phi:g} | {cut} | {cells} |")
            say(lines[-1])
            if max(worst) > 1.0 + 1e-12:
                sys.exit(f"E[e] above 1: {spec}, phi {phi}, share {share}: {worst}")
        worst = largest_expectations_after_jumps(spec, (16, 2), (4, 4), 0.9)
        cells = " | ".join(f"1 {each - 1.0:+.0e}" for each in worst)
        lines.append(f"| {spec.name}, two buckets, nine tenths kept back | 1 | none | {cells} |")
        say(lines[-1])
        if max(worst) > 1.0 + 1e-12:
            sys.exit(f"E[e] above 1 over two buckets: {spec}: {worst}")
    return "\n".join(lines)


def table(findings: list[Finding]) -> str:
    lines = ["| | measured | asked | found | |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(row(finding) for finding in findings)])


def row(finding: Finding) -> str:
    verdict = "holds" if finding.holds else "**broken**"
    cells = (str(finding.promise), finding.what, finding.asked, finding.measured, verdict)
    return "| " + " | ".join(cells) + " |"


def conditions(seed: int, runs: int, minutes: float) -> str:
    return (
        f"Seed {seed} (`make proofs SEED={seed}` rolls the same dice), {runs:,} runs a rate,"
        f" {minutes:.0f} minutes on one core of a shared {platform.machine()} machine;"
        f" Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}."
    )


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
