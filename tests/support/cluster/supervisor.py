"""The cluster's one process: holds the network between host and nodes, and keeps nodes running.

It is pid 1 of its own pid, network and mount namespaces, and every node runs below it: when it
dies, by -9 too, the kernel removes all processes, mounts, links, routes and rules of the cluster.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.support.cluster import cgroups
from tests.support.cluster.layout import Layout, Node

LOOK_SECONDS: Final = 0.2
FABRIC: Final = "fabric"
UPLINK: Final = "up0"


def main(layout: Layout, programs: Path) -> None:
    """Run the cluster; never returns."""
    _run("mount", "--make-rprivate", "/")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", FABRIC, "type", "bridge")
    _run("ip", "link", "set", FABRIC, "up")
    (layout.folder / "supervisor-ready").touch()
    running: dict[str, subprocess.Popen[bytes]] = {}
    uplinked = False
    while True:
        if not uplinked and _succeeds("ip", "link", "show", UPLINK):
            _run("ip", "link", "set", UPLINK, "master", FABRIC, "up")
            uplinked = True
        for node in layout.nodes:
            process = running.get(node.name)
            alive = process is not None and process.poll() is None
            if not alive and layout.wanted(node.name).exists():
                running[node.name] = _start(layout, node, programs)
        _reap(running)
        time.sleep(LOOK_SECONDS)


def _start(layout: Layout, node: Node, programs: Path) -> subprocess.Popen[bytes]:
    name = node.name
    groups = cgroups.make(f"{layout.cgroup}/{name}")
    layout.logs.mkdir(exist_ok=True)
    layout.disk(name).mkdir(parents=True, exist_ok=True)
    with (layout.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [
                "unshare",
                *("--net", "--mount", "--uts", "--ipc", "--cgroup", "--pid", "--fork"),
                *("--kill-child=KILL", "--mount-proc"),
                *(sys.executable, "-m", "tests.support.cluster.node"),
                *(str(layout.checkout), str(layout.slot), name, str(programs)),
            ],
            cwd=layout.checkout,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: cgroups.enter(groups),  # noqa: PLW1509 - one thread, and it must be.
        )
    with contextlib.suppress(TimeoutError):
        _connect(process.pid, node)
    return process


def _connect(unshare: int, node: Node) -> None:
    """Give the node its end of a cable, as soon as it has a network of its own."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = Path(f"/proc/{unshare}/task/{unshare}/children")
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                if Path("/proc", child, "root", "run", "namespaces-ready").exists():
                    _run(
                        *("ip", "link", "add", f"to-{node.name}", "type", "veth"),
                        *("peer", "name", "eth0", "address", node.mac, "netns", child),
                    )
                    _run("ip", "link", "set", f"to-{node.name}", "master", FABRIC, "up")
                    return
        time.sleep(0.05)
    raise TimeoutError(node.name)


def _reap(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Bury orphans, but none of the processes that `subprocess` looks after."""
    ours = {process.pid for process in running.values()}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid in ours:
                return
            os.waitpid(found.si_pid, 0)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Layout(Path(sys.argv[1]), int(sys.argv[2])), Path(sys.argv[3]))
