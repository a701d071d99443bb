"""Tokens judged by the cluster's keys, against a real server with real RSA and EC keys."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from shieldx.kube.cluster import Identity
from shieldx.kube.key_set import KeysError, KeySet, UndecidedError, Verified
from shieldx.kube.signed_tokens import SignedTokens
from shieldx.kube.signing_keys import BELIEVED_SECONDS, SigningKeys
from shieldx.kube.tokens import ReviewUnavailableError, TokenCache
from tests.support.api_server import (
    EC,
    ISSUER,
    LIFETIME_SECONDS,
    OTHER_RSA,
    RSA,
    ApiServer,
    jwk,
    token,
)

SHOP = Identity("shop", "checkout")
NOW = int(time.time())
KEYS = KeySet.parse({"issuer": ISSUER}, {"keys": [jwk(RSA, "one"), jwk(EC, "two")]})


def raw(header: object, claims: object, signature: bytes = b"") -> bytes:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


def unsigned() -> bytes:
    claims = jwt.decode(token(), options={"verify_signature": False})
    return raw({"alg": "none", "kid": "one", "typ": "JWT"}, claims)


def signed_with_the_public_key() -> bytes:
    public = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head, claims, _ = token().split(b".")
    head = raw({"alg": "HS256", "kid": "one", "typ": "JWT"}, {}).split(b".")[0]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        b".".join((head, claims)), public
    )
    return b".".join((head, claims, base64.urlsafe_b64encode(signature).rstrip(b"=")))


def tampered() -> bytes:
    head, _, signature = token().split(b".")
    return b".".join((head, token(sub="system:serviceaccount:ops:all").split(b".")[1], signature))


INVALID: dict[str, bytes] = {
    "expired": token(exp=NOW - 60),
    "expires-never": token(exp=None),
    "not-yet-valid": token(nbf=NOW + 3600),
    "issued-tomorrow": token(iat=NOW + 86400),
    "wrong-audience": token(aud=["https://kubernetes.default.svc"]),
    "no-audience": token(aud=None),
    "no-issuer": token(iss=None),
    "wrong-issuer": token(iss="https://other.example"),
    "another-clusters": token(OTHER_RSA, "three", iss="https://other.example"),
    "issuer-is-a-list": raw({"alg": "RS256", "kid": "three"}, {"iss": [ISSUER]}, b"x"),
    "alg-none": unsigned(),
    "hs256-with-the-public-key": signed_with_the_public_key(),
    "tampered": tampered(),
    "another-key-of-that-id": token(OTHER_RSA, "one"),
    "ec-key-named-as-rsa": token(EC, "one"),
    "no-service-account": token(sub="system:admin"),
    "no-subject": token(sub=None),
    "subject-with-a-tail": token(sub="system:serviceaccount:shop:checkout:x"),
    "critical-extension": token(headers={"crit": ["exp"], "exp": 1}),
    "garbage": b"garbage",
    "dots": b"..",
    "not-ascii": b"\xff\xfe.\xff.\xff",
    "deeply-nested": base64.urlsafe_b64encode(b"[" * 12_000).rstrip(b"=") + b".e30.e30",
    "header-is-a-list": raw([], {}),
    "key-id-is-a-number": raw({"alg": "RS256", "kid": 1}, {}),
}


@pytest.mark.parametrize("name", INVALID)
def test_a_token_that_is_not_valid_is_nobodys(name: str) -> None:
    assert isinstance(KEYS.verify(INVALID[name], "shieldx"), str)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("expired", "has expired"),
        ("wrong-audience", "not for audience shieldx"),
        ("wrong-issuer", "another issuer"),
        ("another-clusters", "another issuer"),
        ("tampered", "not a valid one"),
    ],
)
def test_who_sent_it_is_told_what_is_wrong_with_it(name: str, said: str) -> None:
    assert said in str(KEYS.verify(INVALID[name], "shieldx"))


@pytest.mark.parametrize("good", [token(), token(EC, "two"), token(aud="shieldx")])
def test_a_valid_token_tells_whose_it_is(good: bytes) -> None:
    verified = KEYS.verify(good, "shieldx")

    assert isinstance(verified, Verified)
    assert verified.identity == SHOP
    assert NOW < verified.expires <= time.time() + LIFETIME_SECONDS + 30


def test_clocks_may_differ_by_some_seconds() -> None:
    assert isinstance(KEYS.verify(token(exp=int(time.time()) - 1), "shieldx"), Verified)
    assert isinstance(KEYS.verify(token(nbf=int(time.time()) + 9), "shieldx"), Verified)


@pytest.mark.parametrize("foreign", [token(OTHER_RSA, "three"), token(kid=None)])
def test_what_the_keys_cannot_tell_is_left_to_the_cluster(foreign: bytes) -> None:
    with pytest.raises(UndecidedError):
        KEYS.verify(foreign, "shieldx")


def test_tokens_of_an_issuer_that_the_cluster_had_before_are_left_to_it() -> None:
    old, new = "https://old.example", "https://new.example"
    first = KeySet.parse({"issuer": old}, {"keys": [jwk(RSA, "one")]}).after(None)
    second = KeySet.parse({"issuer": new}, {"keys": [jwk(RSA, "one")]}).after(first).after(first)

    assert isinstance(second.verify(token(iss=new), "shieldx"), Verified)
    for key in ("one", "two"):
        with pytest.raises(UndecidedError):
            second.verify(token(kid=key, iss=old), "shieldx")
    assert isinstance(second.verify(token(), "shieldx"), str)
    again = KeySet.parse({"issuer": old}, {"keys": [jwk(RSA, "one")]}).after(second)
    assert isinstance(again.verify(token(iss=old), "shieldx"), Verified)


WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point.


@pytest.mark.parametrize(
    ("discovery", "jwks"),
    [
        ({}, {"keys": [jwk(RSA, "one")]}),
        ({"issuer": ISSUER}, {}),
        ({"issuer": ISSUER}, {"keys": []}),
        ({"issuer": ISSUER}, {"keys": ["x", {"kty": "RSA"}, jwk(WEAK, "weak")]}),
        ({"issuer": ISSUER}, {"keys": [{"kty": "oct", "k": "AAAA", "kid": "x", "alg": "HS256"}]}),
    ],
)
def test_keys_that_cannot_be_used_are_no_keys(
    discovery: dict[str, Any], jwks: dict[str, Any]
) -> None:
    with pytest.raises(KeysError):
        KeySet.parse(discovery, jwks)


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class World:
    """A cluster, and a process that judges tokens by it."""

    def __init__(self, cluster: ApiServer) -> None:
        self.cluster = cluster
        self.clock = Clock()
        monotonic = self.clock.monotonic
        self.keys = SigningKeys(cluster.reviewer, monotonic=monotonic)
        reviews = TokenCache(cluster.reviewer, monotonic=monotonic)
        self.tokens = SignedTokens(reviews, self.keys, monotonic=monotonic)

    def at_once(self, shown: bytes) -> Identity | None:
        """Say whose a token is without asking anybody; it must be known."""
        known = self.tokens.known(shown)
        assert known is not None, "the cluster would have to be asked"
        return known.identity

    async def asking(self, shown: bytes) -> Identity | None:
        """Say whose a token is after asking the cluster; it must not be known."""
        assert self.tokens.known(shown) is None
        return (await self.tokens.review(shown)).identity

    async def confirmed(self) -> None:
        """Wait until the reviews in the background have been answered."""
        await asyncio.gather(*self.tokens._confirming)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as cluster:
        yield World(cluster)


async def test_a_signed_token_is_believed_at_once_and_confirmed_behind(world: World) -> None:
    shown = token()
    world.cluster.valid[shown.decode()] = "shop:checkout"
    assert await world.keys.fetch()

    assert world.at_once(shown) == SHOP
    assert world.cluster.reviewed == []
    await world.confirmed()
    for _ in range(5):
        assert world.at_once(shown) == SHOP
    await world.confirmed()

    assert world.cluster.reviewed == [shown.decode()]
    world.clock.ahead += 61
    assert world.at_once(shown) == SHOP
    await world.confirmed()
    assert len(world.cluster.reviewed) == 2


async def test_a_revoked_token_is_refused_at_the_first_review_and_never_believed_again(
    world: World,
) -> None:
    shown = token()
    world.cluster.valid[shown.decode()] = "shop:checkout"
    await world.keys.fetch()
    world.at_once(shown)
    await world.confirmed()

    world.cluster.valid.clear()
    world.clock.ahead += 61
    assert world.at_once(shown) == SHOP
    await world.confirmed()

    assert world.at_once(shown) is None
    world.clock.ahead += 6
    assert await world.asking(shown) is None
    world.clock.ahead += 6
    world.cluster.reviews_away = True
    with pytest.raises(ReviewUnavailableError):
        await world.asking(shown)


async def test_signatures_count_for_an_hour_while_the_cluster_is_away(world: World) -> None:
    shown = token(exp=NOW + 86400)
    await world.keys.fetch()
    world.cluster.reviews_away = world.cluster.jwks_away = True

    for _ in range(10):
        assert world.at_once(shown) == SHOP
        await world.confirmed()
        assert not await world.keys.fetch()
        world.clock.ahead += BELIEVED_SECONDS / 11

    world.clock.ahead += BELIEVED_SECONDS / 5
    with pytest.raises(ReviewUnavailableError):
        await world.asking(shown)


async def test_a_believed_token_ends_with_its_time(world: World) -> None:
    shown = token(exp=int(time.time()) - 2)
    world.cluster.reviews_away = True
    await world.keys.fetch()

    assert world.at_once(shown) == SHOP
    await world.confirmed()
    believed = world.tokens.known(shown)

    assert believed is not None
    assert believed.until - world.clock.monotonic() <= 8.1


async def test_without_keys_the_cluster_is_asked(world: World) -> None:
    shown = token()
    world.cluster.valid[shown.decode()] = "shop:checkout"
    world.cluster.jwks_away = True
    assert not await world.keys.fetch()

    assert await world.asking(shown) == SHOP
    assert await world.asking(b"garbage") is None


async def test_a_rotated_key_is_the_clusters_to_judge_until_it_is_fetched(world: World) -> None:
    await world.keys.fetch()
    world.keys = SigningKeys(world.cluster.reviewer, refresh_seconds=600, least_pause_seconds=0)
    world.tokens._keys = world.keys
    following = asyncio.create_task(world.keys.follow())
    await until(lambda: world.keys.current() is not None)
    world.cluster.keys = {"two": EC}
    fresh, stale = token(EC, "two"), token()
    world.cluster.valid[fresh.decode()] = "shop:checkout"

    assert await world.asking(fresh) == SHOP
    await until(lambda: ids_of(world.keys) == {"two"})
    following.cancel()

    assert world.at_once(token(EC, "two", sub="system:serviceaccount:shop:other")) == Identity(
        "shop", "other"
    )
    await world.confirmed()
    assert await world.asking(stale) is None


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - nobody rings.
            await asyncio.sleep(0.01)


def ids_of(keys: SigningKeys) -> set[str]:
    current = keys.current()
    return set() if current is None else set(current.keys)


async def test_made_up_key_ids_cost_a_fetch_now_and_then(world: World) -> None:
    keys = SigningKeys(world.cluster.reviewer, refresh_seconds=600, least_pause_seconds=600)
    world.tokens._keys = keys
    following = asyncio.create_task(keys.follow())
    await until(lambda: keys.current() is not None)

    for number in range(300):
        assert world.tokens.known(token(OTHER_RSA, f"made-up-{number}")) is None
        await asyncio.sleep(0)
    following.cancel()

    assert world.cluster.fetched == 1


async def test_the_old_keys_stay_while_new_ones_make_no_sense(world: World) -> None:
    await world.keys.fetch()
    world.cluster.keys = {}

    assert not await world.keys.fetch()
    assert world.at_once(token()) == SHOP
    await world.confirmed()


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every token whose signature is looked at."""
    shown: list[bytes] = []
    verify = KeySet.verify

    def noticed(keys: KeySet, token: bytes, audience: str) -> Verified | str:
        shown.append(token)
        return verify(keys, token, audience)

    monkeypatch.setattr(KeySet, "verify", noticed)
    return shown


async def test_a_bad_token_is_looked_at_every_five_seconds(
    world: World, looked_at: list[bytes]
) -> None:
    await world.keys.fetch()
    bad = tampered()

    for seconds in (0, 0, 4.9, 0.2, 0):
        world.clock.ahead += seconds
        assert world.at_once(bad) is None

    assert looked_at == [bad, bad]


async def test_what_was_refused_by_other_keys_is_looked_at_again(
    world: World, looked_at: list[bytes]
) -> None:
    world.cluster.keys = {"one": OTHER_RSA}
    await world.keys.fetch()
    shown = token()
    assert world.at_once(shown) is None

    world.cluster.keys = {"one": RSA}
    await world.keys.fetch()

    assert world.at_once(shown) == SHOP
    assert looked_at == [shown, shown]
    await world.confirmed()


async def test_only_so_many_bad_tokens_are_remembered(world: World, looked_at: list[bytes]) -> None:
    world.tokens = SignedTokens(TokenCache(world.cluster.reviewer), world.keys, capacity=2)
    await world.keys.fetch()
    bad = [b".".join((*token().split(b".")[:2], b"%04d" % number)) for number in range(3)]

    for shown in (*bad, *reversed(bad)):
        assert world.at_once(shown) is None

    assert looked_at == [*bad, bad[0]]


async def test_a_flood_of_foreign_tokens_does_not_shut_out_signed_ones(world: World) -> None:
    await world.keys.fetch()
    world.cluster.answering.clear()
    flood = [
        asyncio.create_task(world.tokens.review(b"foreign-%d" % number)) for number in range(300)
    ]
    await asyncio.sleep(0.1)

    assert world.at_once(token()) == SHOP
    world.cluster.answering.set()
    await asyncio.gather(*flood, return_exceptions=True)
