"""As much of a Kubernetes API server as tokens need: its keys, and reviews; on a real port."""

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from kubernetes.aio import client, dynamic

from shieldx.kube.cluster import Cluster
from shieldx.kube.token_reviews import DISCOVERY, JWKS, ClusterReviewer

type Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

ISSUER = "https://kubernetes.default.svc.cluster.local"
# Longer than any run of the tests: an expired one is refused whatever else is wrong with it.
LIFETIME_SECONDS = 6 * 3600
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())

JWKS_TYPE = "application/jwk-set+json"
REVIEWS = {
    "kind": "APIResourceList",
    "groupVersion": "authentication.k8s.io/v1",
    "resources": [
        {
            "name": "tokenreviews",
            "singularName": "tokenreview",
            "kind": "TokenReview",
            "namespaced": False,
            "verbs": ["create"],
        }
    ],
}


def token(
    key: Key = RSA, kid: str | None = "one", headers: dict[str, Any] | None = None, **claims: object
) -> bytes:
    """Sign a token as the API server does, but for what `claims` say; None leaves a claim out."""
    now = int(time.time())
    whole = {
        "aud": ["shieldx"],
        "exp": now + LIFETIME_SECONDS,
        "iat": now,
        "nbf": now,
        "iss": ISSUER,
        "sub": "system:serviceaccount:shop:checkout",
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "checkout"}},
    }
    whole |= claims
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(
        {name: value for name, value in whole.items() if value is not None},
        key,
        algorithm=algorithm,
        headers=(headers or {}) | ({} if kid is None else {"kid": kid}),
    ).encode()


def jwk(key: Key, kid: str) -> dict[str, Any]:
    """Publish the public half of a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        return jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {
            "kid": kid,
            "alg": "RS256",
            "use": "sig",
        }
    return jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid}


@dataclass
class ApiServer:
    """Publishes `keys`; knows whose the `valid` tokens are, whatever their signatures."""

    keys: dict[str, Key] = field(default_factory=lambda: {"one": RSA})
    valid: dict[str, str] = field(default_factory=dict)
    reviewed: list[str] = field(default_factory=list)
    fetched: int = 0
    jwks_away: bool = False
    reviews_away: bool = False
    answering: asyncio.Event = field(default_factory=asyncio.Event)  # reviews wait for it
    publishing: asyncio.Event = field(default_factory=asyncio.Event)  # the keys wait for it

    def __post_init__(self) -> None:
        self.answering.set()
        self.publishing.set()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/version", self._version)
        application.router.add_get("/apis/authentication.k8s.io/v1", self._resources)
        application.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
        application.router.add_get(DISCOVERY, self._discovery)
        application.router.add_get(JWKS, self._jwks)
        application.router.add_get("/{path:.*}", self._groups)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.reviewer = ClusterReviewer(self._connect)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reviewer.close()
        await self._runner.cleanup()

    async def _connect(self) -> Cluster:
        api = client.ApiClient(client.Configuration(host=self._url))
        resources = dynamic.DynamicClient(api, cache_file=os.devnull)  # type: ignore[no-untyped-call]
        return Cluster(api, await resources)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"kind": "Info", "major": "1", "minor": "34"})

    async def _resources(self, _: web.Request) -> web.Response:
        return web.json_response(REVIEWS)

    async def _groups(self, _: web.Request) -> web.Response:
        version = {"groupVersion": "authentication.k8s.io/v1", "version": "v1"}
        group = {"name": "authentication.k8s.io", "preferredVersion": version}
        groups = [{**group, "versions": [version]}]
        return web.json_response(
            {"kind": "APIGroupList", "groups": groups, "resources": [], "versions": []}
        )

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": ISSUER, "jwks_uri": "https://198.51.100.1/keys"})

    async def _jwks(self, request: web.Request) -> web.Response:
        self.fetched += 1
        await self.publishing.wait()
        if self.jwks_away:
            raise web.HTTPServiceUnavailable
        if JWKS_TYPE not in request.headers.get("Accept", ""):
            raise web.HTTPNotAcceptable  # as the real one does
        listed = [jwk(key, kid) for kid, key in self.keys.items()]
        return web.json_response({"keys": listed}, content_type=JWKS_TYPE)

    async def _review(self, request: web.Request) -> web.Response:
        await self.answering.wait()
        if self.reviews_away:
            raise web.HTTPServiceUnavailable
        review = await request.json()
        self.reviewed.append(review["spec"]["token"])
        owner = self.valid.get(review["spec"]["token"])
        review["status"] = (
            {"authenticated": False}
            if owner is None
            else {
                "authenticated": True,
                "audiences": review["spec"]["audiences"],
                "user": {"username": f"system:serviceaccount:{owner}"},
            }
        )
        return web.json_response(review, status=201)
