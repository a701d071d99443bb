"""The relay beside an app on a real cluster: injected, through an outage, and to the very end."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.bank import IMAGE, SPEND, Bank, Spent
from tests.support.cluster import Cluster
from tests.support.cluster.errors import ClusterError
from tests.support.install import NAMESPACE
from tests.support.namespace import Json, Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

OUTAGE_SECONDS: Final = 30
LEDGER: Final = "http://127.0.0.1:5004"
# Calls a path of the ledger: method, path, body, key.
CALL: Final = f"""
import sys, urllib.error, urllib.request
method, path, body, key = sys.argv[1:5]
asked = urllib.request.Request("{LEDGER}" + path, body.encode() or None, method=method)
if key:
    asked.add_header("Idempotency-Key", key)
try:
    answer = urllib.request.urlopen(asked, timeout=10)
except urllib.error.HTTPError as refused:
    answer = refused
print(answer.status, answer.read().decode())
"""
REACH: Final = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), timeout=3).close()
        print(port, "reached")
    except OSError:
        print(port, "refused")
"""


@pytest.fixture(scope="module")
def bank(cluster: Cluster) -> Iterator[Bank]:
    """One ledger for the whole file, and the pod `app` beside a relay of it."""
    with Namespace.made(cluster, "e2e-sidecar") as world:
        bank = Bank(world)
        bank.open()
        stranger = pod("stranger", command=["sleep", "infinity"])
        del stranger["metadata"]["annotations"]
        world.apply(pod("app", command=["sleep", "infinity"]), stranger)
        world.wait("the app is ready", lambda: ready(bank, "app"), 60)
        world.wait("the stranger is ready", lambda: ready(bank, "stranger"), 60)
        yield bank


def test_a_pod_that_names_a_ledger_reaches_it_on_its_own_loopback(bank: Bank) -> None:
    opened = call(bank, "POST", "/v1/accounts", {"id": "first"}, "open-first")
    filled = call(bank, "POST", "/v1/accounts/first/refill", {"amount": 10}, "fill-first")
    paid = call(bank, "POST", "/v1/accounts/first/consume", {"amount": 3}, "pay-first")
    seen = call(bank, "GET", "/v1/accounts/first/balance")

    assert [status for status, _ in (opened, filled, paid, seen)] == [201, 201, 201, 200]
    assert seen[1]["balance"] == 7
    assert "clean" in bank.verify()


def test_the_relay_is_a_native_sidecar_without_any_secret_of_the_ledger(bank: Bank) -> None:
    live = bank.world.get("pod", "app") or {}

    first = live["spec"]["initContainers"][0]
    assert (first["name"], first["restartPolicy"]) == ("shieldx-ledger", "Always")
    assert [c["name"] for c in live["spec"]["containers"]] == ["app"]
    assert [volume for volume in live["spec"]["volumes"] if "secret" in volume] == []
    assert not any("valueFrom" in one for one in first.get("env", []))
    assert "postgres" not in json.dumps(first)


def test_nobody_else_reaches_the_api_of_the_relay_but_its_probes(bank: Bank) -> None:
    address = (bank.world.get("pod", "app") or {})["status"]["podIP"]

    said = bank.world.kubectl(
        *("exec", "stranger", "--", "python3", "-c", REACH, address, "5004", "9090")
    )

    assert said.split("\n")[:2] == ["5004 refused", "9090 reached"]


def test_a_job_rides_out_half_a_minute_without_the_api_and_completes(bank: Bank) -> None:
    bank.world.apply(*job("invoices", seconds=OUTAGE_SECONDS + 25))
    bank.world.wait("customers spend", lambda: "spending" in logs(bank, "invoices"), 90)
    pause(bank, paused=True)  # else the operator would repair what comes now
    bank.world.kubectl("scale", "deployment/credits-api", "--replicas=0")
    time.sleep(OUTAGE_SECONDS)
    here = ready(bank, "app")
    status, refused = call(bank, "POST", "/v1/accounts/first/consume", {"amount": 1}, "away")
    pause(bank, paused=False)

    bank.world.wait("the job is complete", lambda: complete(bank, "invoices"), 240)
    spent = Spent(**json.loads(logs(bank, "invoices").splitlines()[-1]))

    assert here
    assert (status, refused["code"]) == (503, "shard_unavailable")
    assert spent.wrong == {}
    assert spent.paid > 100
    assert set(spent.problems) <= {"503 shard_unavailable", "503 outcome_unknown"}
    assert spent.problems["503 shard_unavailable"] > 0
    bank.world.wait("the ledger is ready", bank.settled, 120)
    assert call(bank, "POST", "/v1/accounts/first/consume", {"amount": 1}, "away")[0] == 201
    assert "clean" in bank.verify()


def test_a_write_from_a_prestop_hook_is_answered(bank: Bank) -> None:
    call(bank, "POST", "/v1/accounts", {"id": "parting"}, "open-parting")
    call(bank, "POST", "/v1/accounts/parting/refill", {"amount": 10}, "fill-parting")
    goodbye = program("POST", "/v1/accounts/parting/consume", '{"amount":1}', "goodbye")
    bank.world.apply(
        pod(
            "parting",
            command=["sleep", "infinity"],
            lifecycle={
                "preStop": {"exec": {"command": ["sh", "-c", 'sleep 2; exec "$@"', "sh", *goodbye]}}
            },
        )
    )
    bank.world.wait("the pod is ready", lambda: ready(bank, "parting"), 60)

    bank.world.kubectl("delete", "pod", "parting", "--grace-period=20", "--timeout=60s")

    assert call(bank, "GET", "/v1/accounts/parting/balance")[1]["balance"] == 9


def test_a_pod_that_cannot_have_the_relay_is_refused_with_the_reason(bank: Bank) -> None:
    with pytest.raises(ClusterError, match="remove hostNetwork"):
        bank.world.apply(pod("shared", command=["true"], hostNetwork=True))


def test_only_pods_that_name_a_ledger_depend_on_the_webhook(bank: Bank) -> None:
    webhook = ("deployment/shieldx-webhook", f"--namespace={NAMESPACE}")
    cluster = bank.world.cluster
    cluster.kubectl("scale", *webhook, "--replicas=0")
    try:
        cluster.kubectl(
            *("wait", "pods", f"--namespace={NAMESPACE}", "--for=delete", "--timeout=90s"),
            "--selector=app.kubernetes.io/component=webhook",
        )
        with pytest.raises(ClusterError, match=r"inject\.shieldx\.io"):
            bank.world.apply(pod("with", command=["sleep", "infinity"]))
        plain = pod("without", command=["sleep", "infinity"])
        del plain["metadata"]["annotations"]
        bank.world.apply(plain)
        bank.world.wait("the pod is ready", lambda: ready(bank, "without"), 60)
    finally:
        cluster.kubectl("scale", *webhook, "--replicas=2")
        cluster.kubectl("rollout", "status", *webhook, "--timeout=120s")


def pod(name: str, *, command: list[str], hostNetwork: bool = False, **container: Any) -> Json:  # noqa: N803 - the field's name.
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"shieldx.io/ledger": "credits"}},
        "spec": {
            "serviceAccountName": "customers",
            "restartPolicy": "Never",
            "hostNetwork": hostNetwork,
            "containers": [
                {
                    "name": "app",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    **container,
                }
            ],
        },
    }


def job(name: str, *, seconds: float) -> tuple[Json, Json]:
    """Customers who spend through the relay of their pod; one run, no second try."""
    files = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "spend"},
        "data": {"spend.py": SPEND.read_text()},
    }
    environment = {"LEDGER_URL": LEDGER, "SECONDS": str(seconds), "ATTEMPT_SECONDS": "10"}
    template = pod(
        name,
        command=["python3", "/spend/spend.py"],
        env=[{"name": key, "value": value} for key, value in environment.items()],
        volumeMounts=[{"name": "spend", "mountPath": "/spend"}],
    )
    template["spec"]["volumes"] = [{"name": "spend", "configMap": {"name": "spend"}}]
    annotations = template["metadata"]["annotations"]
    return files, {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"annotations": annotations}, "spec": template["spec"]},
        },
    }


def program(*arguments: str) -> list[str]:
    return ["python3", "-c", CALL, *arguments]


def call(
    bank: Bank, method: str, path: str, body: Json | None = None, key: str = ""
) -> tuple[int, Json]:
    """Call the ledger from within the pod `app`, as any program of it would."""
    text = "" if body is None else json.dumps(body)
    told = bank.world.kubectl(
        "exec", "app", "--container=app", "--", *program(method, path, text, key)
    )
    status, _, payload = told.strip().partition(" ")
    return int(status), dict(json.loads(payload))


def logs(bank: Bank, job: str) -> str:
    return bank.world.kubectl("logs", f"job/{job}", "--container=app")


def ready(bank: Bank, name: str) -> bool:
    """Whether the pod, the relay in it included, is ready."""
    live = bank.world.get("pod", name) or {}
    conditions = live.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def complete(bank: Bank, name: str) -> bool:
    live = bank.world.get("job", name) or {}
    conditions = {c["type"]: c["status"] for c in live.get("status", {}).get("conditions", [])}
    assert conditions.get("Failed") != "True", logs(bank, name)
    return conditions.get("Complete") == "True"


def pause(bank: Bank, *, paused: bool) -> None:
    patch = json.dumps({"spec": {"paused": paused}})
    bank.world.kubectl("patch", "creditledger", "credits", "--type=merge", f"--patch={patch}")
    bank.world.wait("the operator has seen it", bank.observed, 30)
