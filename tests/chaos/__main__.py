"""`make chaos-ledger`: all campaigns in turn for so many seconds, then a table and a page.

Its exit code is the truth: 0 only if nothing was lost, nothing doubled, every chain clean.
"""

import argparse
import asyncio
import itertools
import logging
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from tests.chaos import campaigns, deployed, harms, report
from tests.chaos.campaigns import Verdict
from tests.chaos.judge import SHOWN_PROBLEMS, Judgement
from tests.chaos.world import Server

TURN_SECONDS: Final = 15.0

type Campaign = Callable[[Server, int], Awaitable[Verdict]]


def plan() -> list[Campaign]:
    """Return the campaigns, in the order in which they take turns."""
    turn = TURN_SECONDS
    return [
        campaigns.each_step_of_writing,
        campaigns.each_step_under_the_lock,
        partial(campaigns.apis_die, seconds=turn, apis=1),
        partial(campaigns.apis_die, seconds=turn, apis=2),
        partial(campaigns.apis_die, seconds=turn, apis=4),
        campaigns.keeper_dies,
        partial(campaigns.postgres_dies, seconds=turn),
        partial(campaigns.postgres_restarts, seconds=turn),
        partial(harms.connection_cut, seconds=turn),
        partial(harms.clock_jumps, seconds=turn),
        partial(harms.poisoned_items, seconds=turn / 2),
        *(
            partial(deployed.deployed, seconds=turn, what=what, faults=faults)
            for what, faults in deployed.EACH.items()
        ),
        partial(deployed.deployed, seconds=2 * turn, what="everything", faults=deployed.MIXED),
    ]


async def run(seconds: float, seed: int) -> tuple[list[Verdict], list[str]]:
    """Let the campaigns take turns until the time is over, each at least once."""
    turns: list[Campaign] = plan()
    left_out: list[str] = []
    if harms.may_mount():
        turns.append(lambda _, seed: harms.disk_full(seed))
    else:
        left_out.append("disk full, which needs root and a mount namespace (`unshare --mount`)")
    verdicts: list[Verdict] = []
    rng, until = random.Random(seed), time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with Server(Path(folder)) as server:
            for number, campaign in enumerate(itertools.cycle(turns)):
                if number >= len(turns) and time.monotonic() > until:
                    break
                try:
                    verdict = await campaign(server, rng.randrange(1 << 32))
                except (AssertionError, TimeoutError) as failure:
                    verdict = Verdict("ended early", 0, Judgement(problems=[repr(failure)]))
                verdicts.append(verdict)
                tell(verdict)
    return verdicts, left_out


def tell(verdict: Verdict) -> None:
    """Say how one campaign came out."""
    judgement = verdict.judgement
    print(
        f"{verdict.what}: {verdict.faults} faults, {judgement.acknowledged} writes, "
        f"{judgement.unsettled} settled by key; {judgement.entries}",
        flush=True,
    )
    for problem in judgement.problems[:SHOWN_PROBLEMS]:
        print(f"  PROBLEM {problem}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()
    verdicts, left_out = asyncio.run(run(given.seconds, given.seed))
    report.show(verdicts)
    report.write(verdicts, time.monotonic() - began, left_out)
    for reason in left_out:
        print(f"not run: {reason}")
    return int(any(verdict.judgement.problems for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
