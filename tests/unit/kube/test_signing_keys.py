"""When the cluster's keys are fetched: by a clock that jumps, so to the second."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from shieldx.kube.signing_keys import SigningKeys
from shieldx.kube.tokens import ReviewUnavailableError
from tests.support.api_server import ISSUER, RSA, jwk
from tests.support.jumping_loop import jump

JWKS = {"keys": [jwk(RSA, "one")]}


class Cluster:
    """Publishes its keys, if it answers, and notes when it was asked."""

    def __init__(self, answers: Callable[[float], bool]) -> None:
        self._answers = answers
        self.asked: list[float] = []

    async def signing_keys(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        now = asyncio.get_running_loop().time()
        self.asked.append(round(now))
        if not self._answers(now):
            raise ReviewUnavailableError("away")
        return {"issuer": ISSUER}, JWKS


def asked(
    seconds: float,
    foreign: Mapping[int, int] | None = None,
    answers: Callable[[float], bool] = lambda _: True,
) -> list[float]:
    """Return when the cluster was asked, while at some seconds so many foreign tokens came."""
    cluster = Cluster(answers)

    async def follow() -> None:
        loop = asyncio.get_running_loop()
        keys = SigningKeys(cluster, monotonic=loop.time)
        following = asyncio.create_task(keys.follow())
        for at, number in (foreign or {}).items():
            await asyncio.sleep(at - loop.time())
            for _ in range(number):
                keys.look_again()
                await asyncio.sleep(0)
        await asyncio.sleep(seconds - loop.time())
        following.cancel()

    jump(follow())
    return cluster.asked


def test_the_keys_are_fetched_every_five_minutes() -> None:
    assert asked(1000) == [0, 300, 600, 900]


def test_a_foreign_token_has_them_fetched_at_once() -> None:
    assert asked(200, {20: 1, 100: 1}) == [0, 20, 100]


def test_a_flood_of_foreign_tokens_costs_a_fetch_every_five_seconds() -> None:
    flood = dict.fromkeys(range(12, 24), 100)

    assert asked(100, flood) == [0, 12, 17, 22, 27]


def test_a_foreign_token_in_the_pause_is_not_forgotten() -> None:
    assert asked(100, {20: 1, 21: 1}) == [0, 20, 25]


def test_a_cluster_that_is_away_is_asked_every_five_seconds() -> None:
    assert asked(330, answers=lambda now: now > 17) == [0, 5, 10, 15, 20, 320]


def test_keys_are_believed_for_an_hour_after_the_cluster_last_confirmed_them() -> None:
    async def believed() -> list[bool]:
        loop = asyncio.get_running_loop()
        keys = SigningKeys(Cluster(lambda now: now <= 600), monotonic=loop.time)
        following = asyncio.create_task(keys.follow())
        seen = []
        for at in (4199, 4201):
            await asyncio.sleep(at - loop.time())
            seen.append(keys.current() is not None)
        following.cancel()
        return seen

    assert jump(believed()) == [True, False]
