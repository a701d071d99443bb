"""What a pod becomes that names a ledger: the patch applied, and judged by Kubernetes' schema."""

import copy
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs.
import pytest

from shieldx.resources.relay import CONTAINER
from shieldx.webhook.injection import PodError, Relay, asked_ledger, inject

type Json = dict[str, Any]

RELAY = Relay("registry.example/shieldx:1")


def pod(**spec: Any) -> Json:
    """A pod as a ReplicaSet creates it and the API server hands it to a webhook."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "checkout-7d4b9c-",
            "labels": {"app": "checkout", "pod-template-hash": "7d4b9c"},
            "annotations": {"shieldx.io/ledger": "credits"},
        },
        "spec": {
            "serviceAccountName": "checkout",
            "restartPolicy": "Always",
            "containers": [
                {
                    "name": "checkout",
                    "image": "checkout:3",
                    "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                }
            ],
            "volumes": [{"name": "cache", "emptyDir": {}}],
            **spec,
        },
    }


def injected(given: Json) -> Json:
    """Apply the patch as the API server does."""
    after = copy.deepcopy(given)
    for change in inject(given, "shop", "credits", RELAY):
        assert change["op"] == "add"
        _, place, field = change["path"].split("/")
        after[place][field] = change["value"]
    return after


def relay_of(after: Json) -> Json:
    (relay,) = [c for c in after["spec"]["initContainers"] if c["name"] == CONTAINER]
    return dict(relay)


def job(**spec: Any) -> Json:
    given = pod(restartPolicy="Never", **spec)
    given["metadata"]["labels"] = {"batch.kubernetes.io/job-name": "invoices"}
    return given


INIT = {"name": "migrate", "image": "checkout:3", "args": ["migrate"]}
PODS = {
    "plain": pod(),
    "with-init-containers": pod(initContainers=[INIT]),
    "without-volumes": pod(
        volumes=None, containers=[{"name": "checkout", "image": "checkout:3", "args": ["serve"]}]
    ),
    "of-a-job": job(),
    "of-another-user": pod(securityContext={"runAsUser": 0, "runAsNonRoot": False, "fsGroup": 5}),
}


@pytest.mark.parametrize("given", PODS.values(), ids=PODS)
@pytest.mark.parametrize("version", ["1.30.0", "1.37.0"])
def test_what_comes_out_is_a_pod(version: str, given: Json) -> None:
    kubernetes_validate.validate(injected(given), version, strict=True)


@pytest.mark.parametrize("given", PODS.values(), ids=PODS)
def test_the_relay_is_a_native_sidecar_and_starts_first(given: Json) -> None:
    first, *others = injected(given)["spec"]["initContainers"]

    assert (first["name"], first["restartPolicy"]) == (CONTAINER, "Always")
    assert first["startupProbe"]["httpGet"] == {"path": "/health", "port": 9090}
    assert others == given["spec"].get("initContainers", [])
    assert injected(given)["spec"]["containers"] == given["spec"]["containers"]


@pytest.mark.parametrize("given", PODS.values(), ids=PODS)
def test_a_second_look_changes_nothing(given: Json) -> None:
    assert inject(injected(given), "shop", "credits", RELAY) == []


def test_the_relay_listens_for_the_pod_and_calls_its_ledger() -> None:
    assert relay_of(injected(pod()))["args"] == [
        "sidecar",
        "--relay",
        "--upstream=http://credits-api.shop.svc:5004",
        "--token-file=/var/run/secrets/shieldx.io/token",
        "--port=5004",
        "--metrics-port=9090",
    ]


def test_all_that_the_relay_gets_is_a_token_of_the_pod_for_ledgers() -> None:
    after = injected(pod())

    mounts = relay_of(after)["volumeMounts"]
    (volume,) = [v for v in after["spec"]["volumes"] if v["name"] == mounts[0]["name"]]
    token = {"path": "token", "audience": "shieldx", "expirationSeconds": 3600}
    assert volume["projected"] == {"sources": [{"serviceAccountToken": token}]}
    assert len(mounts) == 1
    assert "env" not in relay_of(after)
    assert "secret" not in str(after["spec"]["volumes"]).replace("secrets", "")


@pytest.mark.parametrize("given", PODS.values(), ids=PODS)
def test_the_relay_can_do_no_harm_to_its_node_whatever_the_pod_may(given: Json) -> None:
    relay = relay_of(injected(given))

    assert relay["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert {"cpu", "memory"} <= relay["resources"]["requests"].keys()
    assert "memory" in relay["resources"]["limits"]


def test_a_copy_of_an_injected_pod_gets_the_relay_of_today_in_the_place_of_the_old_one() -> None:
    old = injected(pod(initContainers=[INIT]))
    old["spec"]["initContainers"] = [INIT, {**relay_of(old), "image": "shieldx:0"}]

    after = injected(old)

    assert [c["name"] for c in after["spec"]["initContainers"]] == [CONTAINER, "migrate"]
    assert relay_of(after)["image"] == RELAY.image
    assert len(after["spec"]["volumes"]) == 2


def test_metrics_move_where_a_container_has_their_port() -> None:
    ports = [{"containerPort": 9090}, {"containerPort": 9091, "protocol": "UDP"}]
    given = pod(containers=[{"name": "app", "image": "app", "ports": ports}])

    relay = relay_of(injected(given))

    assert relay["args"][-1] == "--metrics-port=9091"
    assert relay["ports"][0]["containerPort"] == 9091
    assert {relay[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness")} == {9091}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (pod(hostNetwork=True), "hostNetwork"),
        (
            pod(containers=[{"name": "app", "image": "a", "ports": [{"containerPort": 5004}]}]),
            "claims port 5004",
        ),
        (
            pod(
                containers=[
                    {
                        "name": "app",
                        "image": "a",
                        "ports": [{"containerPort": port} for port in range(9090, 9100)],
                    }
                ]
            ),
            "9090 to 9099",
        ),
    ],
    ids=["host-network", "api-port", "metrics-ports"],
)
def test_a_pod_that_cannot_have_the_relay_is_told_what_to_change(given: Json, said: str) -> None:
    with pytest.raises(PodError, match=said):
        inject(given, "shop", "credits", RELAY)


@pytest.mark.parametrize("name", ["", "Credits", "a.b", "x" * 41, "a/b", "evil:5004/x", "a\n"])
def test_what_is_no_name_of_a_ledger_is_refused(name: str) -> None:
    given = pod()
    given["metadata"]["annotations"]["shieldx.io/ledger"] = name

    with pytest.raises(PodError, match="is not the name of a CreditLedger"):
        asked_ledger(given)


def test_only_pods_that_ask_are_asked_about() -> None:
    given = pod()
    assert asked_ledger(given) == "credits"
    for annotations in (None, {}, {"team": "shop"}):
        given["metadata"]["annotations"] = annotations
        assert asked_ledger(given) is None
    # The label of the ledger's own pods is no question.
    given["metadata"]["labels"]["shieldx.io/ledger"] = "credits"
    assert asked_ledger(given) is None


def test_the_pod_that_is_given_is_not_changed() -> None:
    given = pod(initContainers=[INIT])
    before = copy.deepcopy(given)
    inject(given, "shop", "credits", RELAY)

    assert given == before
