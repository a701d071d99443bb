"""A ledger on a real cluster: it comes up, serves through losses, is repaired, and lets go."""

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.bank import Bank
from tests.support.cluster import Cluster
from tests.support.cluster.errors import ClusterError
from tests.support.install import NAMESPACE
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 5432), timeout=4).close()
    print("reached")
except OSError as problem:
    print("refused", problem)
"""


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> Iterator[Bank]:
    """One ledger for the tests that leave it as it was."""
    with Namespace.made(cluster, "e2e-ledger") as world:
        bank = Bank(world)
        bank.open()
        yield bank


@pytest.fixture
def bank(namespace: Namespace) -> Bank:
    return Bank(namespace)


def test_a_ledger_comes_up_and_says_so(shared: Bank) -> None:
    table = shared.world.kubectl("get", "ledgers")

    header, row = table.strip().splitlines()
    assert header.split() == ["NAME", "READY", "SHARDS", "API", "AGE"]
    assert row.split()[:4] == ["credits", "True", "1/1", "2/2"]
    assert [e["reason"] for e in shared.world.events("credits")].count("Ready") == 1
    assert "clean" in shared.verify()


def test_two_api_pods_are_on_two_nodes(shared: Bank) -> None:
    assert len({pod["spec"]["nodeName"] for pod in shared.pods("api")}) == 2


def test_the_keeper_tells_the_operator_how_far_the_chain_is(shared: Bank) -> None:
    shared.start_spending("position", 2)
    shared.spent("position", 60)
    # A touch is a reason to look.
    shared.world.kubectl("annotate", "creditledger", "credits", "e2e=position", "--overwrite")

    def told() -> bool:
        live = shared.world.get("creditledger", "credits") or {}
        return int(live["status"]["shards"][0].get("position", 0)) > 0

    shared.world.wait("the position is in the status", told, seconds=30)


def test_an_api_pod_killed_under_load_loses_and_doubles_nothing(shared: Bank) -> None:
    shared.start_spending("killed", 25)
    for victim in shared.pods("api"):
        shared.world.kubectl(
            "delete", "pod", victim["metadata"]["name"], "--grace-period=0", "--force"
        )
        shared.world.wait("two API pods are ready again", lambda: ready(shared) == 2)

    spent = shared.spent("killed", 120)

    assert spent.wrong == {}
    assert spent.paid > 100
    assert "clean" in shared.verify()


@pytest.mark.parametrize("keep_alive", [False, True], ids=["new-connections", "kept-connections"])
def test_a_rolling_update_loses_no_request(shared: Bank, *, keep_alive: bool) -> None:
    name = f"rolled-{'kept' if keep_alive else 'new'}"
    before = {pod["metadata"]["name"] for pod in shared.pods("api")}
    # Slow is not lost: a request that a pod took with it is not answered in 20 seconds either.
    shared.start_spending(name, 45, attempt_seconds=20, keep_alive=keep_alive)
    shared.world.kubectl("rollout", "restart", "deployment/credits-api")
    shared.world.kubectl("rollout", "status", "deployment/credits-api", "--timeout=120s")

    spent = shared.spent(name, 120)

    assert before.isdisjoint(pod["metadata"]["name"] for pod in shared.pods("api"))
    assert (spent.problems, spent.wrong) == ({}, {})
    assert spent.paid > 100


def test_only_the_ledgers_own_pods_reach_its_postgres(shared: Bank) -> None:
    host = f"credits-s0.{shared.world.name}.svc"
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "stranger",
                    "image": "localhost/shieldx:dev",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", REACH, host],
                }
            ],
        },
    }
    shared.world.apply(stranger)
    shared.world.wait(
        "the stranger has tried", lambda: shared.world.kubectl("logs", "stranger") != "", 60
    )

    assert shared.world.kubectl("logs", "stranger").startswith("refused")
    own = shared.world.kubectl("exec", "deployment/credits-api", "--", "python3", "-c", REACH, host)
    assert own.strip() == "reached"


def test_what_somebody_changes_or_deletes_is_repaired(shared: Bank) -> None:
    world = shared.world
    world.kubectl("delete", "service/credits-api", "networkpolicy/credits-s0")
    world.kubectl("scale", "deployment/credits-api", "--replicas=1")

    world.wait("the Service is back", lambda: world.get("service", "credits-api") is not None, 30)
    world.wait(
        "the NetworkPolicy is back",
        lambda: world.get("networkpolicy", "credits-s0") is not None,
        30,
    )
    world.wait("two API pods are ready again", lambda: ready(shared) == 2)


def test_a_paused_ledger_is_not_repaired_until_it_goes_on(shared: Bank) -> None:
    world = shared.world
    pause(shared, paused=True)
    world.wait("the ledger says it is paused", lambda: shared.claim("Ready")[1] == "Paused", 30)
    world.kubectl("delete", "service/credits-keeper")

    with pytest.raises(AssertionError):
        world.wait("never", lambda: world.get("service", "credits-keeper") is not None, 10)
    pause(shared, paused=False)
    world.wait("it is repaired", lambda: world.get("service", "credits-keeper") is not None, 30)
    world.wait("it is ready", shared.settled)


def test_the_operator_may_not_read_secrets(cluster: Cluster) -> None:
    account = f"--as=system:serviceaccount:{NAMESPACE}:shieldx-operator"

    for verb in ("get", "list", "watch"):
        with pytest.raises(ClusterError):
            cluster.kubectl("auth", "can-i", verb, "secrets", account, "--all-namespaces")


def test_somebody_elses_service_is_not_taken_over(bank: Bank) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "credits-api"},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    }
    bank.world.apply(theirs, bank.ledger())

    bank.world.wait(
        "the ledger says whose name it needs", lambda: bank.claim("Stalled")[1] == "NameTaken", 60
    )

    assert "Service credits-api exists" in bank.claim("Stalled")[2]
    live = bank.world.get("service", "credits-api") or {}
    assert live["spec"]["selector"] == {"app": "theirs"}


def test_a_ledger_that_cannot_start_quotes_its_pod(bank: Bank) -> None:
    managed = {
        "storage": "1Gi",
        "resources": {"requests": {"memory": "900Gi"}, "limits": {"memory": "900Gi"}},
    }
    bank.world.apply(bank.ledger(shards=[{"name": "s0", "managed": managed}]))

    bank.world.wait(
        "the pod is quoted",
        lambda: "credits-s0-0 cannot be scheduled" in bank.claim("Stalled")[2],
        60,
    )

    assert bank.claim("Ready")[:2] == ("False", "PodsFail")


def test_deleting_a_ledger_keeps_its_data_for_the_next_one(bank: Bank) -> None:
    bank.open()
    bank.start_spending("first", 3)
    assert bank.spent("first", 60).wrong == {}
    books = bank.verify()

    bank.world.kubectl("delete", "creditledger", "credits", "--timeout=60s")
    bank.world.wait("its pods are gone", lambda: bank.pods("api") + bank.pods("postgres") == [])

    assert bank.world.get("persistentvolumeclaim", "data-credits-s0-0") is not None
    assert bank.world.get("secret", "credits-s0-postgres") is not None
    (told,) = [e for e in bank.world.events("credits") if e["reason"] == "Released"]
    assert "data-credits-s0-0" in told["message"]
    assert "credits-s0-postgres" in told["message"]
    assert bindings(bank) == []

    bank.open()
    assert bank.verify() == books


def test_deleting_a_ledger_deletes_its_data_when_asked(bank: Bank) -> None:
    bank.open(deletionPolicy="Delete")

    bank.world.kubectl("delete", "creditledger", "credits", "--timeout=90s")

    for kind, name in (
        ("persistentvolumeclaim", "data-credits-s0-0"),
        ("secret", "credits-s0-postgres"),
        ("statefulset", "credits-s0"),
    ):
        bank.world.wait(f"{kind} {name} is gone", partial(gone, bank, kind, name))
    assert bindings(bank) == []


def test_a_namespace_goes_with_its_ledger_and_everything_in_any_order(bank: Bank) -> None:
    bank.open()
    bank.world.kubectl("delete", "secret/credits-s0-postgres", "statefulset/credits-s0")

    bank.world.remove()

    assert bindings(bank) == []


def test_a_namespace_goes_that_was_deleted_while_the_operator_was_away(bank: Bank) -> None:
    bank.open()
    operator = ("deployment/shieldx-operator", f"--namespace={NAMESPACE}")
    bank.world.cluster.kubectl("scale", *operator, "--replicas=0")
    try:
        bank.world.cluster.kubectl("delete", "namespace", bank.world.name, "--wait=false")
        bank.world.wait("its pods are gone", lambda: bank.pods("api") == [], 90)
    finally:
        bank.world.cluster.kubectl("scale", *operator, "--replicas=1")

    bank.world.remove()

    assert bindings(bank) == []


def ready(bank: Bank) -> int:
    live = bank.world.get("deployment", "credits-api") or {}
    count: int = live.get("status", {}).get("readyReplicas", 0)
    return count


def gone(bank: Bank, kind: str, name: str) -> bool:
    return bank.world.get(kind, name) is None


def pause(bank: Bank, *, paused: bool) -> None:
    patch = json.dumps({"spec": {"paused": paused}})
    bank.world.kubectl("patch", "creditledger", "credits", "--type=merge", f"--patch={patch}")


def bindings(bank: Bank) -> list[str]:
    """Return the rights of the cluster that are left of the ledgers of this namespace."""
    told = bank.world.cluster.kubectl("get", "clusterrolebindings", "--output=name")
    return [line for line in told.split() if f":ledger:{bank.world.name}:" in line]
