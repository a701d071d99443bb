"""The objects of a ledger: valid for every supported Kubernetes, small in rights, true to spec."""

import json
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs.
import pytest

from controllers.creditledger.manifests import Manifest, Owner, objects, postgres_secret
from shieldx.ledger.forward import AUDIENCE
from shieldx.sidecar.config import load
from tests.support.ledgers import NAMES, SETTINGS, spec

OWNER = Owner(NAMES, "u-1")


def made(**fields: Any) -> list[Manifest]:
    return list(objects(OWNER, spec(**fields), SETTINGS))


def one(kind: str, name: str, **fields: Any) -> Manifest:
    (found,) = [m for m in made(**fields) if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


ALL = [*made(), postgres_secret(OWNER, spec().shards[0], "secret")]
NAMED = [f"{m['kind']}/{m['metadata']['name']}" for m in ALL]
WORKLOADS = [m for m in ALL if m["kind"] in {"Deployment", "StatefulSet"}]


@pytest.mark.parametrize("version", ["1.30.0", "1.37.0"])
@pytest.mark.parametrize("manifest", ALL, ids=NAMED)
def test_every_object_fits_the_schema_of(version: str, manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("manifest", ALL, ids=NAMED)
def test_every_object_but_the_password_goes_with_its_ledger(manifest: Manifest) -> None:
    owners = [o["uid"] for o in manifest["metadata"].get("ownerReferences", [])]

    outlives = manifest["kind"] in {"Secret", "ClusterRoleBinding"}
    assert owners == ([] if outlives else ["u-1"])


@pytest.mark.parametrize("manifest", WORKLOADS, ids=lambda m: str(m["metadata"]["name"]))
def test_pods_can_do_no_harm_to_their_node(manifest: Manifest) -> None:
    pod = manifest["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


@pytest.mark.parametrize("manifest", WORKLOADS, ids=lambda m: str(m["metadata"]["name"]))
def test_pods_are_found_by_their_service_policy_and_selector(manifest: Manifest) -> None:
    labels = manifest["spec"]["template"]["metadata"]["labels"].items()
    name = manifest["metadata"]["name"]

    assert manifest["spec"]["selector"]["matchLabels"].items() <= labels
    assert one("Service", name)["spec"]["selector"].items() <= labels
    assert one("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"].items() <= labels


def test_no_password_is_in_anything_but_the_secret() -> None:
    assert "secret-password" not in json.dumps(made())
    secret = postgres_secret(OWNER, spec().shards[0], "secret-password")["stringData"]
    assert secret["password"] in secret["dsn"]
    assert secret["dsn"] == ("postgresql://shieldx:secret-password@credits-s0.bank.svc:5432/ledger")


def test_only_api_and_keeper_reach_postgres_which_reaches_nobody() -> None:
    policy = one("NetworkPolicy", "credits-s0")["spec"]

    (rule,) = policy["ingress"]
    callers = [c["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for c in rule["from"]]
    assert callers == ["api", "keeper"]
    assert policy["egress"] == []
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_only_the_operator_reaches_the_keeper() -> None:
    http, metrics = one("NetworkPolicy", "credits-keeper")["spec"]["ingress"]

    (caller,) = http["from"]
    assert caller["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "shieldx-system"
    }
    assert (http["ports"][0]["port"], metrics["ports"][0]["port"]) == (5004, 9090)


def test_only_api_and_keeper_reach_the_internal_port_of_the_api() -> None:
    opened = {
        name: [rule for rule in rules if rule["ports"][0]["port"] == 5006]
        for name in ("credits-api", "credits-keeper", "credits-s0")
        for rules in (one("NetworkPolicy", name)["spec"]["ingress"],)
    }

    (rule,) = opened.pop("credits-api")
    assert all(peer.keys() == {"podSelector"} for peer in rule["from"])
    assert [peer["podSelector"]["matchLabels"] for peer in rule["from"]] == [
        NAMES.selector("api"),
        NAMES.selector("keeper"),
    ]
    assert opened == {"credits-keeper": [], "credits-s0": []}
    for name in ("credits-api", "credits-keeper"):
        (out,) = [
            rule
            for rule in one("NetworkPolicy", name)["spec"]["egress"]
            if rule["ports"][0]["port"] == 5006
        ]
        assert out["to"] == [{"podSelector": {"matchLabels": NAMES.selector("api")}}]


def test_api_and_keeper_have_a_token_of_their_own_for_the_internal_port_only() -> None:
    for name in ("credits-api", "credits-keeper"):
        pod = one("Deployment", name)["spec"]["template"]["spec"]
        (volume,) = [v for v in pod["volumes"] if v["name"] == "internal"]
        (source,) = volume["projected"]["sources"]
        assert source["serviceAccountToken"]["audience"] == AUDIENCE
        (container,) = pod["containers"]
        assert "--token-file=/run/secrets/shieldx-internal/token" in container["args"]
        listens = {"--internal-port=5006", "--peer=bank:credits-api", "--peer=bank:credits-keeper"}
        assert (listens <= set(container["args"])) is (name == "credits-api")


def test_the_configuration_is_what_the_api_reads(tmp_path: Any) -> None:
    file = tmp_path / "ledger.json"
    callers = [
        {"namespace": "shop", "name": "till", "scopes": ["write", "read"], "accounts": ["shop/"]}
    ]
    data = one(
        "ConfigMap",
        "credits-api",
        asset={"code": "EUR", "scale": 2},
        api={"auth": {"serviceAccounts": callers}},
        holds={"defaultTimeout": "90s"},
    )["data"]
    file.write_text(data["ledger.json"])

    config, _ = load(file)

    assert (config.ledger, config.shard, config.asset.code, config.asset.scale) == (
        "bank/credits",
        "s0",
        "EUR",
        2,
    )
    assert config.holds.default_timeout_seconds == 90
    assert config.holds.max_timeout_seconds == 24 * 3600
    assert config.policy()["shop", "till"].prefixes == ("shop/",)


def test_new_callers_restart_no_pod_and_another_asset_would() -> None:
    callers = {"auth": {"serviceAccounts": [{"namespace": "a", "name": "b", "scopes": ["read"]}]}}

    def template(**fields: Any) -> Any:
        return one("Deployment", "credits-api", **fields)["spec"]["template"]

    assert template(api=callers) == template()
    assert template(asset={"code": "EUR"}) != template()


def test_the_api_is_replaced_one_pod_more_at_a_time() -> None:
    deployment = one("Deployment", "credits-api", api={"replicas": 5})["spec"]

    assert deployment["replicas"] == 5
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    (container,) = deployment["template"]["spec"]["containers"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}


def test_a_storage_class_and_resources_are_passed_on() -> None:
    managed = {
        "storage": "2Gi",
        "storageClassName": "fast",
        "resources": {"limits": {"memory": "3Gi"}},
    }
    stateful = one("StatefulSet", "credits-s0", shards=[{"name": "s0", "managed": managed}])["spec"]

    (claim,) = stateful["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"] == {"requests": {"storage": "2Gi"}}
    (container,) = stateful["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "3Gi"}
    assert stateful["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"


WEBHOOKS = {
    "webhooks": [
        {"url": "http://billing.shop.svc:8080/credits", "secretRef": {"name": "a", "key": "k"}},
        {"url": "https://example.org/hook", "secretRef": {"name": "b", "key": "k"}},
    ]
}


def test_webhooks_are_mounted_into_the_keeper_alone() -> None:
    keeper = one("Deployment", "credits-keeper", events=WEBHOOKS)["spec"]["template"]
    config = one("ConfigMap", "credits-api", events=WEBHOOKS)["data"]["webhooks.json"]
    kubernetes_validate.validate(
        one("Deployment", "credits-keeper", events=WEBHOOKS), "1.30.0", strict=True
    )

    hooks = json.loads(config)
    assert [hook["url"] for hook in hooks] == [hook["url"] for hook in WEBHOOKS["webhooks"]]
    mounts = {m["mountPath"] for m in keeper["spec"]["containers"][0]["volumeMounts"]}
    assert {hook["secretFile"].rpartition("/")[0] for hook in hooks} <= mounts
    secrets = [v["secret"] for v in keeper["spec"]["volumes"] if v["name"].startswith("webhook")]
    assert [secret["secretName"] for secret in secrets] == ["a", "b"]
    # A Secret that is missing must not keep the keeper from its other work.
    assert all(secret["optional"] for secret in secrets)
    assert "--webhooks=/etc/shieldx/webhooks.json" in keeper["spec"]["containers"][0]["args"]
    api = one("Deployment", "credits-api", events=WEBHOOKS)
    assert api == one("Deployment", "credits-api")


def test_the_keeper_reaches_the_ports_of_webhooks() -> None:
    def egress(**fields: Any) -> set[int]:
        rules = one("NetworkPolicy", "credits-keeper", **fields)["spec"]["egress"]
        return {port["port"] for rule in rules if "to" not in rule for port in rule["ports"]}

    assert egress(events=WEBHOOKS) - egress() == {8080}


def test_a_changed_webhook_restarts_the_keeper_and_not_the_api() -> None:
    def annotations(name: str, **fields: Any) -> dict[str, str]:
        template = one("Deployment", name, **fields)["spec"]["template"]
        found: dict[str, str] = template["metadata"]["annotations"]
        return found

    assert annotations("credits-keeper", events=WEBHOOKS) != annotations("credits-keeper")
    assert annotations("credits-api", events=WEBHOOKS) == annotations("credits-api")
