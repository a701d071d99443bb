"""The texts that a node's programs read."""

import json
import tomllib
from pathlib import Path

from tests.support.cluster import configs
from tests.support.cluster.layout import NODE_DISK, NODES, Layout

LAYOUT = Layout(Path("/a/checkout"), 3)
FIRST, SECOND = LAYOUT.nodes


def test_pods_of_two_nodes_get_addresses_of_different_ranges() -> None:
    ranges = [
        json.loads(configs.cni(node))["plugins"][0]["ipam"]["ranges"][0][0]["subnet"]
        for node in LAYOUT.nodes
    ]

    assert ranges == ["10.244.1.0/24", "10.244.2.0/24"]


def test_containerd_reads_its_configuration_as_version_2() -> None:
    read = tomllib.loads(configs.containerd())

    assert read["version"] == 2
    assert read["plugins"]["io.containerd.grpc.v1.cri"]["restrict_oom_score_adj"] is True


def test_sockets_have_paths_that_a_socket_may_have() -> None:
    for path in (configs.CONTAINERD_SOCKET, f"{NODE_DISK}/kubelet/device-plugins/kubelet.sock"):
        assert len(path) <= 107


def test_the_kubelet_asks_who_calls_it() -> None:
    read = json.loads(configs.kubelet(SECOND))

    assert read["address"] == SECOND.address
    assert read["authentication"]["anonymous"] == {"enabled": False}
    assert read["authorization"] == {"mode": "Webhook"}


def test_the_store_listens_to_its_own_machine_only() -> None:
    etcd = configs.control_plane(FIRST)["etcd"]

    assert [word for word in etcd if "http://" in word] != []
    assert all("http://127.0.0.1:" in word for word in etcd if "http://" in word)


def test_no_program_is_given_a_secret_on_its_command_line() -> None:
    commands = [*configs.control_plane(FIRST).values(), *configs.machine(FIRST).values()]

    for word in (word for command in commands for word in command):
        assert "PRIVATE KEY" not in word
        assert not word.startswith(("--token=", "--password="))


def test_a_kubeconfig_names_its_user_and_server() -> None:
    read = json.loads(configs.kubeconfig(LAYOUT.server, "scheduler", "/keys"))

    assert read["clusters"][0]["cluster"]["server"] == LAYOUT.server
    assert read["users"][0]["user"]["client-key"] == "/keys/scheduler.key"


def test_nodes_find_each_other_by_name() -> None:
    lines = configs.hosts(LAYOUT).splitlines()

    assert [f"{node.address} {node.name}" for node in LAYOUT.nodes] == lines[1:]
    assert tuple(line.split()[1] for line in lines[1:]) == NODES
