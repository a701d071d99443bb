"""The Secret of API keys: how it comes to the API, and to nobody else."""

import json
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs.

from controllers.creditledger.manifests import Manifest, Owner, objects
from tests.support.ledgers import NAMES, SETTINGS, spec


def made(**auth: Any) -> list[Manifest]:
    return list(objects(Owner(NAMES, "u-1"), spec(api={"auth": auth}), SETTINGS))


def deployment(objects: list[Manifest], name: str) -> Manifest:
    (found,) = [m for m in objects if (m["kind"], m["metadata"]["name"]) == ("Deployment", name)]
    return found


def test_the_keys_are_mounted_into_the_api_alone_and_may_be_missing() -> None:
    objects = made(apiKeysSecretRef={"name": "keys"})
    api = deployment(objects, "credits-api")

    template = api["spec"]["template"]["spec"]
    (container,) = template["containers"]
    assert "--api-keys=/run/secrets/shieldx-api-keys" in container["args"]
    (volume,) = [v for v in template["volumes"] if v["name"] == "api-keys"]
    assert volume["secret"] == {"secretName": "keys", "optional": True}
    assert "api-keys" not in json.dumps(deployment(objects, "credits-keeper"))
    for version in ("1.30.0", "1.37.0"):
        kubernetes_validate.validate(api, version, strict=True)


def test_nothing_is_mounted_without_a_secret_of_keys() -> None:
    assert "api-keys" not in json.dumps(made())


def test_no_role_lets_the_operator_or_the_api_read_it() -> None:
    with_keys, without = made(apiKeysSecretRef={"name": "keys"}), made()

    differing = [m["kind"] for m, n in zip(with_keys, without, strict=True) if m != n]
    assert differing == ["Deployment"]
