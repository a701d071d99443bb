"""The pod's pace, over a clock that the test turns."""

import json

import pytest

from shieldx.sidecar.buckets import Claim, Rate, explained
from shieldx.sidecar.relay.pace import HELD_SECONDS, Pace


class World:
    """A pace, and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pace = Pace(lambda: self.now)

    def refuse(self, bucket: str = "client:shop", per_second: float = 10.0, burst: int = 5) -> None:
        """Let the API refuse, in its own words."""
        _, facts = explained(Claim(bucket, 1, Rate(per_second, burst)), 1.0)
        self.pace.refused(json.dumps({"code": "rate_limited", **facts}).encode())

    def granted(self, seconds: float, every: float = 0.01) -> int:
        """Ask all the time for so long; return how often it was granted."""
        granted = 0
        for _ in range(round(seconds / every)):
            self.now += every
            granted += self.pace.ask() is None
        return granted


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_is_held_back_before_the_api_has_refused(world: World) -> None:
    assert world.granted(1) == 100


def test_after_a_refusal_the_pod_is_held_to_the_rate_that_was_told(world: World) -> None:
    world.refuse()

    assert world.granted(2) in {19, 20}
    short = world.pace.ask()
    assert short is not None
    claim, wait = short
    assert claim.rate == (10.0, 5)
    assert 0 < wait <= 0.1 + 1e-9


def test_what_is_not_asked_for_is_saved_up_to_the_burst(world: World) -> None:
    world.refuse()
    world.now += 3

    assert [world.pace.ask() is None for _ in range(6)] == [True] * 5 + [False]


def test_when_nothing_was_refused_for_some_seconds_the_api_is_asked_freely(world: World) -> None:
    world.refuse()
    world.granted(HELD_SECONDS / 2)
    world.refuse(per_second=1.0)
    assert world.granted(HELD_SECONDS - 0.1) in {4, 5}

    world.now += 0.2

    assert world.granted(1) == 100


def test_the_limit_of_one_account_is_not_the_pods(world: World) -> None:
    world.refuse("account:shop/ada")

    assert world.granted(1) == 100


@pytest.mark.parametrize(
    "payload",
    [
        b"<html>",
        b"{}",
        b"[]",
        b'{"limit":"client"}',
        b'{"limit":"client","requests_per_second":"x","burst":1}',
        b'{"limit":"client","requests_per_second":-1,"burst":5}',
        b'{"limit":"client","requests_per_second":1,"burst":0}',
    ],
)
def test_what_no_api_of_ours_says_teaches_nothing(world: World, payload: bytes) -> None:
    world.pace.refused(payload)

    assert world.granted(1) == 100
