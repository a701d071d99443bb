"""A cluster that knows one token, so that the product really checks whose a token is.

Serves what the product asks an API server for: discovery, the keys that service-account tokens
are signed with, and token reviews. The token is a real one: RS256, audience, issuer, expiry.
"""

import base64
import json
import time
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

NAMESPACE: Final = "shop"
NAMES: Final = ("checkout", "admin")
LIFETIME_SECONDS: Final = 7200
KEY_ID: Final = "bench"


class StubCluster:
    """An API server on loopback; `kubeconfig` makes a process use it."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/version", _version)
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/openid/v1/jwks", self._keys)
        app.router.add_get("/api", _versions)
        app.router.add_get("/apis", _groups)
        app.router.add_get("/api/v1", _no_resources)
        app.router.add_get("/apis/authentication.k8s.io/v1", _resources)
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.tokens = {name: self._sign(name) for name in NAMES}
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def write_kubeconfig(self, path: Path) -> None:
        named: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": self.url}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        }
        path.write_text(json.dumps(named))

    def _sign(self, name: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": f"system:serviceaccount:{NAMESPACE}:{name}",
            "aud": ["shieldx"],
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
            "kubernetes.io": {"namespace": NAMESPACE, "serviceaccount": {"name": name}},
        }
        header = {"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}
        text = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_base64(signature)}"

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def _keys(self, _: web.Request) -> web.Response:
        numbers = self._key.public_key().public_numbers()
        key = {
            "use": "sig",
            "kty": "RSA",
            "kid": KEY_ID,
            "alg": "RS256",
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        return web.json_response({"keys": [key]})

    async def _review(self, request: web.Request) -> web.Response:
        review = await request.json()
        token = review["spec"]["token"]
        name = next((name for name, one in self.tokens.items() if one == token), None)
        status: dict[str, Any] = {"authenticated": name is not None}
        if name is not None:
            status["audiences"] = ["shieldx"]
            status["user"] = {"username": f"system:serviceaccount:{NAMESPACE}:{name}"}
        return web.json_response({**review, "status": status}, status=201)


async def _version(_: web.Request) -> web.Response:
    return web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.0"})


async def _versions(_: web.Request) -> web.Response:
    return web.json_response({"kind": "APIVersions", "versions": ["v1"]})


async def _no_resources(_: web.Request) -> web.Response:
    return web.json_response({"kind": "APIResourceList", "groupVersion": "v1", "resources": []})


async def _groups(_: web.Request) -> web.Response:
    version = {"groupVersion": "authentication.k8s.io/v1", "version": "v1"}
    group = {
        "name": "authentication.k8s.io",
        "versions": [version],
        "preferredVersion": version,
    }
    return web.json_response({"kind": "APIGroupList", "groups": [group]})


async def _resources(_: web.Request) -> web.Response:
    reviews = {
        "name": "tokenreviews",
        "singularName": "tokenreview",
        "namespaced": False,
        "kind": "TokenReview",
        "verbs": ["create"],
    }
    return web.json_response(
        {
            "kind": "APIResourceList",
            "groupVersion": "authentication.k8s.io/v1",
            "resources": [reviews],
        }
    )


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(number: int) -> str:
    return _base64(number.to_bytes((number.bit_length() + 7) // 8, "big"))
