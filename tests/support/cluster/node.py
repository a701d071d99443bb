"""A node's first process: makes the machine around itself, runs its programs, reaps its orphans.

It runs as pid 1 of namespaces of its own (pid, network, mounts, names, ipc, cgroups); when it
dies, by whatever signal, the kernel ends everything that it has started, pods included.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from tests.support.cluster import cgroups, configs
from tests.support.cluster.layout import (
    NODE_DISK,
    NODE_PROGRAMS,
    SERVICE_NETWORK,
    Layout,
    Node,
)

PATIENCE_SECONDS: Final = 120
RESTART_SECONDS: Final = 1.0


def main(layout: Layout, name: str, programs: Path) -> None:
    """Become the machine `name`; never returns."""
    node = next(node for node in layout.nodes if node.name == name)
    _prepare_files(layout, node, programs)
    _prepare_network(layout, node)
    logs = Path(NODE_DISK) / "logs"
    logs.mkdir(exist_ok=True)
    programs_of_node = _Programs(logs)
    programs_of_node.start("containerd", ["containerd", f"--config={NODE_DISK}/containerd.toml"])
    if node == layout.nodes[0]:
        for program, command in configs.control_plane(node).items():
            programs_of_node.start(program, command)
            if program == "kube-apiserver":
                _wait(lambda: _kubectl("get", "--raw", "/readyz"))
    _wait(lambda: _kubectl("get", "--raw", "/readyz"))
    for program, command in configs.machine(node).items():
        if program == "kube-router":
            _wait(lambda: _kubectl("get", "node", name))
        programs_of_node.start(program, command)
    programs_of_node.watch()


class _Programs:
    """The programs of this machine: started again when they end, as an init system does."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[int, tuple[str, list[str]]] = {}

    def start(self, name: str, command: list[str]) -> None:
        path = shutil.which(command[0]) or command[0]
        with (self._logs / f"{name}.log").open("ab") as log:
            pid = os.posix_spawn(
                path,
                [path, *command[1:]],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
                setsid=True,
            )
        self._running[pid] = (name, command)

    def watch(self) -> NoReturn:
        """Bury whoever ends; start again what belongs to the machine."""
        while True:
            pid, _ = os.wait()
            if (ended := self._running.pop(pid, None)) is not None:
                time.sleep(RESTART_SECONDS)
                self.start(*ended)


def _prepare_files(layout: Layout, node: Node, programs: Path) -> None:
    _run("hostname", node.name)
    _run("mount", "--make-rprivate", "/")
    # Held open, so that they can be found below the mounts that follow.
    disk = os.open(layout.disk(node.name), os.O_PATH)
    binaries = os.open(programs, os.O_PATH)
    pki = os.open(layout.folder / "pki", os.O_PATH)
    _run("umount", "--recursive", "/sys/fs/cgroup")
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    cgroups.mount_inside()
    # What programs keep at fixed places belongs to this machine alone.
    for folder in ("/run", "/var/lib", "/var/log"):
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    for descriptor, place in ((disk, NODE_DISK), (binaries, NODE_PROGRAMS), (pki, configs.PKI)):
        Path(place).mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mount", "--bind", f"/proc/self/fd/{descriptor}", place],
            check=True,
            pass_fds=(descriptor,),
        )
        os.close(descriptor)
    Path("/var/lib/cni").mkdir()
    for folder in ("cni", "kubeconfigs", "plugins", "volumes"):
        (Path(NODE_DISK) / folder).mkdir(exist_ok=True)
    _write("containerd.toml", configs.containerd())
    _write("cni/10-pods.conflist", configs.cni(node))
    _write("kubelet.yaml", configs.kubelet(node))
    for user in ("admin", "controller-manager", "scheduler", "proxy", node.name):
        _write(f"kubeconfigs/{user}", configs.kubeconfig(layout.server, user, configs.PKI))
    for name, text in (("hosts", configs.hosts(layout)), ("resolv.conf", "")):
        _write(name, text)
        _run("mount", "--bind", f"{NODE_DISK}/{name}", f"/etc/{name}")


def _prepare_network(layout: Layout, node: Node) -> None:
    _run("ip", "link", "set", "lo", "up")
    Path("/run/namespaces-ready").touch()
    _wait(lambda: _succeeds("ip", "link", "show", "eth0"))
    prefix = layout.network.prefixlen
    _run("ip", "address", "add", f"{node.address}/{prefix}", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")
    # Of this namespace; the host's stays what it is.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # A way to nowhere: a service's address needs some route before it can be translated.
    _run("ip", "link", "add", "services", "type", "bridge")
    _run("ip", "link", "set", "services", "up")
    _run("ip", "route", "add", SERVICE_NETWORK, "dev", "services", "src", node.address)
    for other in layout.nodes:
        if other != node:
            _run("ip", "route", "add", other.pods, "via", other.address)


def _kubectl(*arguments: str) -> bool:
    kubeconfig = f"--kubeconfig={configs.KUBECONFIGS}/admin"
    return _succeeds(f"{NODE_PROGRAMS}/kubectl", kubeconfig, *arguments)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            sys.exit("this node's programs did not come up: see its logs")
        time.sleep(0.2)


def _write(name: str, text: str) -> None:
    (Path(NODE_DISK) / name).write_text(text)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    main(Layout(Path(sys.argv[1]), int(sys.argv[2])), sys.argv[3], Path(sys.argv[4]))
