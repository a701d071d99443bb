"""Remembered token reviews: for how long, how many, and never two questions for one."""

import asyncio
import base64
import json
from dataclasses import dataclass, field

import pytest

from shieldx.kube.cluster import Identity
from shieldx.kube.tokens import ReviewUnavailableError, TokenCache, expiry

SHOP = Identity("shop", "checkout")


@dataclass
class Cluster:
    """Knows some tokens, counts the questions, and can be away or slow."""

    valid: dict[str, Identity] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    away: bool = False

    async def review_token(self, token: str, audience: str) -> Identity | None:
        assert audience == "shieldx"
        self.asked.append(token)
        await asyncio.sleep(0)
        if self.away:
            raise ReviewUnavailableError("away")
        return self.valid.get(token)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def jwt(exp: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": exp}).encode()).decode().rstrip("=")
    return f"h.{claims}.s"


def cache(cluster: Cluster, clock: Clock, capacity: int = 10) -> TokenCache:
    return TokenCache(cluster, capacity=capacity, monotonic=clock, wall=clock)


async def test_a_valid_token_is_asked_about_once_a_minute() -> None:
    cluster, clock = Cluster({"t": SHOP}), Clock()
    tokens = cache(cluster, clock)
    assert tokens.known(b"t") is None

    assert (await tokens.review(b"t")).identity == SHOP
    clock.now += 59
    known = tokens.known(b"t")
    assert known is not None
    assert known.identity == SHOP
    clock.now += 2

    assert tokens.known(b"t") is None
    await tokens.review(b"t")
    assert cluster.asked == ["t", "t"]


async def test_a_token_is_not_believed_past_its_expiry() -> None:
    clock = Clock()
    token = jwt(int(clock.now) + 10)
    tokens = cache(Cluster({token: SHOP}), clock)
    await tokens.review(token.encode())

    clock.now += 9
    assert tokens.known(token.encode()) is not None
    clock.now += 2
    assert tokens.known(token.encode()) is None


async def test_a_refusal_is_remembered_for_five_seconds() -> None:
    cluster, clock = Cluster(), Clock()
    tokens = cache(cluster, clock)

    assert (await tokens.review(b"bad")).identity is None
    clock.now += 4
    assert (await tokens.review(b"bad")).identity is None
    assert cluster.asked == ["bad"]

    clock.now += 2
    cluster.valid["bad"] = SHOP
    assert (await tokens.review(b"bad")).identity == SHOP


async def test_concurrent_questions_about_one_token_are_one_question() -> None:
    cluster = Cluster({"t": SHOP})
    tokens = cache(cluster, Clock())

    answers = await asyncio.gather(*(tokens.review(b"t") for _ in range(50)))

    assert {answer.identity for answer in answers} == {SHOP}
    assert cluster.asked == ["t"]


async def test_bad_tokens_cannot_push_out_good_ones() -> None:
    cluster, clock = Cluster({"t": SHOP}), Clock()
    tokens = cache(cluster, clock, capacity=5)
    await tokens.review(b"t")

    for number in range(20):
        await tokens.review(b"bad%d" % number)

    assert tokens.known(b"t") is not None
    assert tokens.known(b"bad0") is None
    assert tokens.known(b"bad19") is not None


async def test_silence_is_an_error_and_is_not_remembered() -> None:
    cluster = Cluster({"t": SHOP}, away=True)
    tokens = cache(cluster, Clock())
    with pytest.raises(ReviewUnavailableError):
        await tokens.review(b"t")

    cluster.away = False

    assert (await tokens.review(b"t")).identity == SHOP


async def test_bytes_that_are_no_text_are_nobodys_token() -> None:
    cluster = Cluster()

    assert (await cache(cluster, Clock()).review(b"\xff\xfe")).identity is None
    assert cluster.asked == []


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (jwt(5), 5.0),
        ("opaque", None),
        ("a.b.c", None),
        ("a.W10.c", None),
        ("a.eyJleHAiOiAieCJ9.c", None),
    ],
)
def test_the_expiry_is_read_from_a_jwt_only(token: str, expected: float | None) -> None:
    assert expiry(token) == expected
