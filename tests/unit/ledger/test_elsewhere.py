"""Work in another process: its result, its error and its death come back."""

import asyncio
import os

import pytest

from shieldx.ledger.elsewhere import ElsewhereError, elsewhere
from shieldx.ledger.postgres import ShardUnavailableError


async def fail() -> None:
    raise ValueError("for a reason")


async def die() -> None:
    os._exit(3)


async def find_no_database() -> None:
    raise ShardUnavailableError("no connection to Postgres")


async def test_a_result_comes_back() -> None:
    assert await elsewhere(asyncio.sleep, 0, "done") == "done"


async def test_an_error_comes_back_as_what_it_says() -> None:
    with pytest.raises(ElsewhereError, match="ValueError: for a reason"):
        await elsewhere(fail)
    with pytest.raises(ShardUnavailableError, match="no connection"):
        await elsewhere(find_no_database)


async def test_a_death_is_told() -> None:
    with pytest.raises(ElsewhereError, match="died"):
        await elsewhere(die)


async def test_whoever_stops_waiting_ends_it() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(elsewhere(asyncio.sleep, 600.0), 1)
