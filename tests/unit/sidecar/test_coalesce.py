"""Many look-ups in one query, each of them told whatever becomes of the others."""

import asyncio
from collections.abc import Mapping

import pytest

from shieldx.sidecar.coalesce import Coalescer

type Told = tuple[str | None, bool]


async def fetch(keys: list[str]) -> Mapping[str, str]:
    if "away" in keys:
        raise ConnectionError("away")
    return {key: key.upper() for key in keys if key != "none"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["a", "none", "b"], [("A", False), (None, False), ("B", False)]),
        (["a", "away", "b"], [(None, True)] * 3),
    ],
)
async def test_who_cannot_use_the_answer_harms_none_of_the_others(
    keys: list[str], expected: list[Told]
) -> None:
    coalescer = Coalescer(fetch)
    told: list[Told] = []

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    def noted(value: str | None, error: Exception | None) -> None:
        told.append((value, error is not None))

    for key in keys:
        coalescer.look_up(key, broken)
        coalescer.look_up(key, noted)
    async with asyncio.timeout(30):
        while len(told) < len(keys):  # noqa: ASYNC110 - `noted` is a plain callback.
            await asyncio.sleep(0)

    assert told == expected
