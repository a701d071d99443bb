"""A process dies where it is told to, at the right time, and nowhere otherwise."""

import os
import signal
import subprocess
import sys

import pytest

from shieldx.ledger.steps import VARIABLE, Step, planned, reached

PROGRAM = """
import asyncio
from shieldx.ledger.steps import Step, reached, reached_soon

async def main():
    print("sent", flush=True)
    reached_soon(Step.STORE_SENT)
    print("same turn", flush=True)
    await asyncio.sleep(0.2)
    print("later", flush=True)

for number in range(3):
    reached(Step.TAKEN)
    print(number, flush=True)
asyncio.run(main())
"""


def ran(crash_at: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), VARIABLE: crash_at}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_it_dies_when_the_step_is_reached_the_nth_time() -> None:
    died = ran("taken:3")

    assert died.returncode == -signal.SIGKILL
    assert died.stdout.split() == ["0", "1"]
    assert died.stderr == f"{VARIABLE}=taken: killed\n"


def test_what_is_written_in_this_turn_leaves_before_it_dies_in_the_next() -> None:
    died = ran("store-sent")

    assert died.returncode == -signal.SIGKILL
    assert died.stdout.endswith("sent\nsame turn\n")


def test_a_step_that_is_not_meant_harms_nobody() -> None:
    assert ran("").returncode == 0
    assert ran("merged:1").returncode == 0
    reached(Step.TAKEN)


@pytest.mark.parametrize("text", ["nowhere", "taken:0", "taken:x", "taken:-1"])
def test_a_mistaken_plan_is_explained(text: str) -> None:
    with pytest.raises(ValueError, match=r"the steps are migration-locked, .*expiry-answered"):
        planned(text)
