"""The local cluster keeps its promises: it leaves nothing behind, and its machines fail on demand.

Every cluster here belongs to a checkout of its own, beside the one that the other tests use.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.cluster import Cluster, ClusterError, LocalCluster
from tests.support.cluster.layout import CHECKOUT, NODES, Layout
from tests.support.namespace import Json, Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TOOL: Final = Path("tests/support/cluster")
KUBELET_PORT: Final = 10250
# A node is called lost when its kubelet was silent for 40 to 50 s.
NOTICED_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Traces:
    """What a cluster can leave on a machine."""

    processes: frozenset[str]
    links: frozenset[str]
    groups: frozenset[str]
    mounts: frozenset[str]
    routes: frozenset[str]
    rules: frozenset[str]


def traces(layout: Layout) -> Traces:
    """Look for what belongs to the checkout's cluster; for mounts and rules whosever they are."""
    names = (str(layout.checkout), layout.cgroup)
    processes = {
        process.name
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and any(name in _described(process) for name in names)
    }
    return Traces(
        processes=frozenset(processes),
        links=frozenset(link.name for link in Path("/sys/class/net").glob(f"{layout.link}*")),
        groups=frozenset(str(group) for group in Path("/sys/fs/cgroup").rglob(layout.cgroup)),
        mounts=frozenset(
            line
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if "/containers/storage/" not in line  # of image builds, which anybody may run
        ),
        routes=frozenset(
            line
            for line in _said("ip", "route", "show", "table", "all").splitlines()
            if f"dev {layout.link}" in line
        ),
        rules=frozenset(
            line for line in _said("iptables-save").splitlines() if line.startswith(("-", "*"))
        ),
    )


def _described(process: Path) -> str:
    with contextlib.suppress(OSError):
        arguments = (process / "cmdline").read_bytes().decode(errors="replace")
        return arguments + (process / "cgroup").read_text()
    return ""


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A running cluster of another checkout."""
    place = LocalCluster(checkout_at(tmp_path_factory.mktemp("other")))
    place.up()
    yield place
    place.down()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A checkout without a cluster, and without one afterwards."""
    made = checkout_at(tmp_path)
    yield made
    LocalCluster(made).down()


def checkout_at(folder: Path) -> Path:
    shutil.copytree(CHECKOUT / TOOL, folder / TOOL, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def layout_of(checkout: Path) -> Layout:
    """Return the layout of a checkout, whose names do not depend on the block of addresses."""
    slot = checkout / ".run" / "cluster" / "slot"
    return Layout(checkout, int(slot.read_text()) if slot.exists() else 0)


def up(checkout: Path) -> subprocess.Popen[str]:
    """Begin `up` as a person does, in a session of its own as a terminal is.

    Tests that were started in the background inherit that Ctrl-C is ignored; a person's do not.
    """
    command = [sys.executable, "-m", "tests.support.cluster", "--cluster=local", "up"]
    return subprocess.Popen(
        ["env", "--default-signal=INT", *command],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return held


def test_down_leaves_nothing(checkout: Path) -> None:
    layout = layout_of(checkout)
    before = traces(layout)
    place = LocalCluster(checkout)
    place.up()
    during = traces(layout)
    place.down()

    assert len(during.processes) > 10  # The traces are found while they are there.
    assert len(during.links) == 1
    assert during.groups
    assert during.rules == before.rules
    assert during.mounts == before.mounts
    assert traces(layout) == before
    assert not layout.folder.exists()


def test_a_killed_supervisor_takes_everything_with_it(checkout: Path) -> None:
    layout = layout_of(checkout)
    before = traces(layout)
    place = LocalCluster(checkout)
    place.up()
    supervisor = place._supervisor()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)

    assert eventually(lambda: traces(layout) == before, 15), traces(layout)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(lambda at: at.folder.exists(), id="before the first process"),
        pytest.param(lambda at: bool(traces(at).processes), id="at the first process"),
        pytest.param(lambda at: bool(traces(at).links), id="at the first link"),
        pytest.param(lambda at: (at.disk("node1") / "etcd").exists(), id="while nodes start"),
        pytest.param(lambda at: (at.folder / "loaded.json").exists(), id="while images load"),
    ],
)
def test_ctrl_c_in_the_middle_of_up_leaves_nothing(
    checkout: Path, moment: Callable[[Layout], bool]
) -> None:
    layout = layout_of(checkout)
    before = traces(layout)
    process = up(checkout)
    reached = eventually(lambda: moment(layout), 120)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)

    assert reached, said
    assert process.returncode == 130, said
    assert eventually(lambda: traces(layout) == before, 15), traces(layout)
    assert not layout.folder.exists()


def test_a_second_up_completes_what_a_killed_one_began(checkout: Path) -> None:
    layout = layout_of(checkout)
    process = up(checkout)
    reached = eventually(lambda: bool(traces(layout).links), 120)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    place = LocalCluster(checkout)
    place.up()

    assert reached
    assert place._ready_nodes() == set(NODES)


def test_up_on_a_healthy_cluster_is_quick_and_changes_nothing(other: LocalCluster) -> None:
    before = [other._supervisor(), *(other.node_pid(node) for node in NODES)]
    began = time.monotonic()
    other.up()

    assert time.monotonic() - began < 5
    assert [other._supervisor(), *(other.node_pid(node) for node in NODES)] == before


def test_two_checkouts_have_a_cluster_each(cluster: Cluster, other: LocalCluster) -> None:
    name = "which-one-is-this"
    other.kubectl("create", "namespace", name)

    assert other.kubectl("get", "namespace", name, "--output=name").strip() == f"namespace/{name}"
    with pytest.raises(ClusterError, match="not found"):
        cluster.kubectl("get", "namespace", name)
    assert len(cluster.kubectl("get", "nodes", "--output=name").split()) == 2


def test_nothing_can_leave_the_cluster(other: LocalCluster) -> None:
    for node in NODES:
        assert "default" not in other.exec_in_node(node, "ip", "route")
        with pytest.raises(ClusterError, match="Network is unreachable"):
            reach(other, node, "1.1.1.1", 443)


def test_a_lost_node_is_noticed_and_comes_back_with_its_disk(other: LocalCluster) -> None:
    other.exec_in_node("node2", "touch", "/run/node/still-here")
    other.lose("node2")
    lost = eventually(lambda: other._ready_nodes() == {"node1"}, NOTICED_SECONDS)
    with pytest.raises(ClusterError, match="node2 is not up"):
        other.exec_in_node("node2", "true")
    other.start("node2")

    assert lost
    assert eventually(lambda: other._ready_nodes() == set(NODES), 30)
    other.exec_in_node("node2", "test", "-e", "/run/node/still-here")


def test_the_node_of_the_control_plane_can_be_lost_as_well(other: LocalCluster) -> None:
    other.kubectl("create", "configmap", "kept-by-etcd")
    other.lose("node1")
    other.start("node1")

    assert "kept-by-etcd" in other.kubectl("get", "configmaps", "--output=name")


def test_up_brings_a_lost_node_back(other: LocalCluster) -> None:
    other.lose("node2")
    other.up()

    assert other.node_pid("node2") is not None
    assert other._ready_nodes() == set(NODES)


def test_a_cut_node_is_out_of_reach_until_it_is_healed(other: LocalCluster) -> None:
    address = layout_of(other._layout.checkout).nodes[1].address
    reach(other, "node1", address, KUBELET_PORT)
    other.cut("node2")
    with pytest.raises(ClusterError):
        reach(other, "node1", address, KUBELET_PORT)
    assert other.exec_in_node("node2", "hostname") == "node2\n"  # It lives on, alone.
    other.heal("node2")

    assert eventually(lambda: reachable(other, "node1", address, KUBELET_PORT), 30)


def test_network_policies_are_enforced_between_nodes(namespace: Namespace) -> None:
    first, second, *_ = namespace.cluster.kubectl(
        "get", "nodes", "--output=jsonpath={.items[*].metadata.name}"
    ).split()
    serve = ["python3", "-m", "http.server", "8080", "--directory=/usr/share"]
    namespace.apply(
        pod("server", first, serve),
        pod("friend", second, ["sleep", "3600"]),
        pod("stranger", second, ["sleep", "3600"]),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "server"},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    namespace.kubectl("wait", "pods", "--all", "--for=condition=Ready", "--timeout=120s")
    namespace.wait("both are answered", lambda: answered(namespace, "friend", "stranger"))
    namespace.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "friends-only"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "server"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}],
            },
        }
    )

    namespace.wait("the stranger is refused", lambda: not answered(namespace, "stranger"))
    assert answered(namespace, "friend")


def pod(name: str, node: str, command: list[str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": name, "image": "localhost/shieldx:dev", "command": command}],
        },
    }


def answered(namespace: Namespace, *clients: str) -> bool:
    """Whether the server answers each of the clients, asked by its Service's name."""
    ask = "import urllib.request as ask; ask.urlopen('http://server/', timeout=3)"
    try:
        for client in clients:
            namespace.kubectl("exec", client, "--", "python3", "-c", ask)
    except ClusterError:
        return False
    return True


def reach(place: LocalCluster, node: str, address: str, port: int) -> None:
    """Open a connection from inside a node; ClusterError if that fails within 3 s."""
    opened = f"exec 3<>/dev/tcp/{address}/{port}"
    place.exec_in_node(node, "timeout", "3", "bash", "-c", opened)


def reachable(place: LocalCluster, node: str, address: str, port: int) -> bool:
    with contextlib.suppress(ClusterError):
        reach(place, node, address, port)
        return True
    return False
