"""Rate limits of the spec: what the API is told, and how it comes to Redis's address."""

import json
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs.
import pytest

from controllers.creditledger.manifests import Manifest, Owner, objects
from shieldx.sidecar.buckets import Rate
from shieldx.sidecar.config import parse
from tests.support.ledgers import NAMES, SETTINGS, spec

LIMIT: dict[str, Any] = {
    "requestsPerSecond": 2000,
    "burst": 4000,
    "perAccount": {"requestsPerSecond": 50, "burst": 100},
    "redis": {"urlSecretRef": {"name": "credits-redis"}},
}


def one(kind: str, name: str, limit: dict[str, Any]) -> Manifest:
    made = objects(Owner(NAMES, "u-1"), spec(api={"rateLimit": limit}), SETTINGS)
    (found,) = [m for m in made if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def pod(name: str, limit: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = one("Deployment", name, limit)["spec"]["template"]
    return template


def told(limit: dict[str, Any]) -> tuple[Rate | None, Rate | None]:
    """Return the limits of a client and of an account, as the API reads them."""
    text = one("ConfigMap", "credits-api", limit)["data"]["ledger.json"]
    limits = parse(text.encode()).rate_limit
    return limits.client_rate(), limits.account_rate()


@pytest.mark.parametrize(
    ("keys", "rates"),
    [
        ((), (None, None)),
        (("requestsPerSecond", "burst"), (Rate(2000, 4000), None)),
        (("perAccount",), (None, Rate(50, 100))),
        (("redis",), (None, None)),
        (tuple(LIMIT), (Rate(2000, 4000), Rate(50, 100))),
    ],
)
def test_the_api_is_told_the_limits(
    keys: tuple[str, ...], rates: tuple[Rate | None, Rate | None]
) -> None:
    assert told({key: LIMIT[key] for key in keys}) == rates


def test_other_limits_restart_no_pod() -> None:
    slower = {**LIMIT, "burst": 1, "perAccount": {"requestsPerSecond": 1, "burst": 1}}

    assert pod("credits-api", slower) == pod("credits-api", LIMIT)


def test_the_address_is_mounted_into_the_api_alone_and_may_be_missing() -> None:
    template = pod("credits-api", LIMIT)["spec"]

    (container,) = template["containers"]
    assert "--redis-url-file=/run/secrets/shieldx-redis/url" in container["args"]
    (volume,) = [v for v in template["volumes"] if v["name"] == "redis"]
    assert volume["secret"] == {
        "secretName": "credits-redis",
        "optional": True,
        "items": [{"key": "url", "path": "url"}],
    }
    assert "redis" not in json.dumps(pod("credits-keeper", LIMIT))
    assert "redis" not in json.dumps(pod("credits-api", {}))
    for version in ("1.30.0", "1.37.0"):
        kubernetes_validate.validate(one("Deployment", "credits-api", LIMIT), version, strict=True)


def test_the_api_reaches_redis_only_where_it_is_given() -> None:
    def ports(limit: dict[str, Any]) -> set[int]:
        egress = one("NetworkPolicy", "credits-api", limit)["spec"]["egress"]
        return {port["port"] for rule in egress for port in rule["ports"]}

    assert ports(LIMIT) - ports({}) == {6379, 6380}
