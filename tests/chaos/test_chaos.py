"""The short form: every step once, Postgres killed, a connection cut, the ledger as deployed."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from shieldx.ledger.steps import Step
from tests.chaos import campaigns, deployed, harms
from tests.chaos.campaigns import EARLY, KEEPING, LOCKING, TELLING, WRITING, Verdict
from tests.chaos.judge import Judgement, assert_clean
from tests.chaos.world import Server

pytestmark = [pytest.mark.chaos, pytest.mark.postgres]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        server = Server(Path(folder))
        asyncio.run(server.start())
        yield server
        asyncio.run(server.stop())


def test_every_step_is_in_one_of_the_tables() -> None:
    tables = [*EARLY, *WRITING, *LOCKING, *KEEPING, *TELLING]

    assert sorted(tables) == sorted(Step)


@pytest.mark.parametrize(
    "campaign",
    [
        campaigns.each_step_of_writing,
        campaigns.each_step_under_the_lock,
        partial(campaigns.apis_die, seconds=0, apis=2),
        campaigns.keeper_dies,
        partial(campaigns.postgres_dies, seconds=0),
        partial(harms.connection_cut, seconds=0),
        partial(harms.poisoned_items, seconds=1),
        partial(deployed.deployed, seconds=0, what="short", faults=deployed.SHORT),
    ],
    ids=["steps", "lock", "two-apis", "keeper", "postgres", "cut", "poison", "deployed"],
)
async def test_nothing_is_lost_and_nothing_doubled(
    server: Server, campaign: Callable[[Server, int], Awaitable[Verdict]]
) -> None:
    verdict = await campaign(server, 5)

    assert verdict.faults
    assert verdict.judgement.acknowledged
    assert_clean(verdict.judgement)


def test_a_problem_fails_the_run() -> None:
    with pytest.raises(AssertionError, match="1 problems:\nlost"):
        assert_clean(Judgement(problems=["lost"]))
