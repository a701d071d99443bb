"""The local cluster as seen from the host: one process to start, to talk to, and to end."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, override

from tests.support.cluster import binaries, cgroups, configs, images, preflight
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.errors import ClusterError
from tests.support.cluster.layout import (
    CHECKOUT,
    NODES,
    Layout,
    free_slot,
    networks_of,
    preferred_slot,
)
from tests.support.cluster.pki import ensure_pki
from tests.support.cluster.progress import say, step

PATIENCE_SECONDS: Final = 180


class LocalCluster(Cluster):
    """Two nodes in one process tree of this machine."""

    def __init__(self, checkout: Path = CHECKOUT) -> None:
        slot = checkout / ".run" / "cluster" / "slot"
        number = int(slot.read_text()) if slot.exists() else preferred_slot(checkout)
        self._layout = Layout(checkout, number)

    @property
    @override
    def kubeconfig(self) -> Path:
        return self._layout.kubeconfig

    @property
    @override
    def kubectl_path(self) -> str:
        return str(binaries.ensure_binaries() / "kubectl")

    @override
    def up(self) -> None:
        preflight.ensure()
        programs = binaries.ensure_binaries()
        with self._alone():
            if self._healthy():
                return
            try:
                with _interruptible():
                    self._make(programs)
            except BaseException:
                say("  ✗ the cluster did not come up; removing what was made of it")
                self._keep_logs()
                self._remove()
                raise

    @override
    def down(self) -> None:
        with self._alone():
            self._remove()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time make or remove this checkout's cluster."""
        folder = self._layout.folder.parent
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "cluster.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _remove(self) -> None:
        while (pid := self._supervisor()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _wait_for(lambda: self._supervisor() != pid, "the end of the supervisor", 30)
        if left := cgroups.sweep(self._layout.cgroup):
            raise ClusterError(f"these control groups could not be removed: {left}")
        _wait_for(lambda: not _link_exists(self._layout.link), "the end of the link", 10)
        kept = self._layout.folder.parent / "cluster-logs"
        if self._layout.folder.exists():
            shutil.rmtree(self._layout.folder)
        if kept.exists() and not any(kept.iterdir()):
            kept.rmdir()

    @override
    def load(self, image: images.Image, identity: str) -> None:
        record = self._layout.folder / "loaded.json"
        loaded = json.loads(record.read_text()) if record.exists() else {}
        for node in NODES:
            if loaded.get(f"{node} {image.tag}") == identity or not self.node_pid(node):
                continue
            archive = images.export(image, identity)
            with step(f"load image {image.tag} into {node}"), archive.open("rb") as stream:
                self.exec_in_node(
                    node,
                    *("ctr", "--address", configs.CONTAINERD_SOCKET, "--namespace", "k8s.io"),
                    *("images", "import", "-"),
                    stdin=stream.fileno(),
                )
            loaded[f"{node} {image.tag}"] = identity
            record.write_text(json.dumps(loaded))

    def exec_in_node(self, node: str, *command: str, stdin: int = subprocess.DEVNULL) -> str:
        """Run a command inside a node and return what it prints."""
        pid = self.node_pid(node)
        if pid is None:
            raise ClusterError(f"{node} is not up")
        done = subprocess.run(
            ["nsenter", "--target", str(pid), "--all", *command],
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"{' '.join(command)} in {node}: {done.stderr.strip()}")
        return done.stdout

    def lose(self, node: str) -> None:
        """Take a machine away, as a power cut does; its disk stays."""
        self._layout.wanted(node).unlink(missing_ok=True)
        if (pid := self.node_pid(node)) is not None:
            os.kill(pid, signal.SIGKILL)
            _wait_for(lambda: self.node_pid(node) is None, f"the end of {node}", 30)

    def start(self, node: str) -> None:
        """Switch a lost machine on again."""
        self._layout.wanted(node).touch()
        _wait_for(lambda: self.node_pid(node) is not None, f"the start of {node}", 60)
        # A machine that was lost a moment ago is still called Ready: its own sign of life counts.
        before = self._sign_of_life(node)
        _wait_for(
            lambda: self._sign_of_life(node) not in {before, ""},
            f"a sign of life of {node}",
            PATIENCE_SECONDS,
        )
        self._wait_ready((node,))

    def cut(self, node: str) -> None:
        """Pull a machine's network cable."""
        self._in_supervisor("ip", "link", "set", f"to-{node}", "down")

    def heal(self, node: str) -> None:
        """Put the cable back."""
        self._in_supervisor("ip", "link", "set", f"to-{node}", "up")

    def status(self) -> str:
        """Return one sentence and the nodes."""
        if self._supervisor() is None:
            return "There is no cluster of this checkout."
        return f"KUBECONFIG={self.kubeconfig}\n" + self.kubectl("get", "nodes", "-o", "wide")

    def node_pid(self, node: str) -> int | None:
        """Return the host's number of a node's first process, or None if it is not up."""
        wanted = ["tests.support.cluster.node", str(self._layout.checkout), node]
        for pid, arguments in _processes():
            # A program that the node is about to start still has the node's own arguments.
            if all(word in arguments for word in wanted) and _is_first_process(pid):
                return pid
        return None

    def _make(self, programs: Path) -> None:
        supervisor = self._supervisor()
        if supervisor is None:
            cgroups.sweep(self._layout.cgroup)
            self._choose_addresses()
            ensure_pki(self._layout)
            self._start_supervisor(programs)
        for node in NODES:
            self._layout.wanted(node).touch()
            with contextlib.suppress(ClusterError):  # A node that is being started has no cable.
                self.heal(node)
        with step("start two nodes"):
            self._wait_ready(NODES)
        for image in images.cluster_images(programs):
            self.load(image, images.build(image))
        with step("start DNS and volumes"):
            self.kubectl("apply", "--filename", str(Path(__file__).parent / "addons.yaml"))
            for name in ("coredns", "local-path"):
                self.kubectl(
                    *("rollout", "status", f"deployment/{name}"),
                    *("--namespace=kube-system", f"--timeout={PATIENCE_SECONDS}s"),
                )

    def _choose_addresses(self) -> None:
        used = subprocess.run(
            ["ip", "-4", "-brief", "address"], capture_output=True, text=True, check=True
        ).stdout
        slot = free_slot(self._layout.slot, networks_of(used))
        layout = Layout(self._layout.checkout, slot)
        if layout.slot != self._layout.slot and layout.folder.exists():
            shutil.rmtree(layout.folder)  # Certificates and disks belong to the old addresses.
        self._layout = layout
        layout.folder.mkdir(parents=True, exist_ok=True)
        (layout.folder / "wanted").mkdir(exist_ok=True)
        layout.logs.mkdir(exist_ok=True)
        (layout.folder / "slot").write_text(str(layout.slot))
        self.kubeconfig.touch(mode=0o600)
        pki = str(layout.folder / "pki")
        self.kubeconfig.write_text(configs.kubeconfig(layout.server, "admin", pki))

    def _start_supervisor(self, programs: Path) -> None:
        layout, ready = self._layout, self._layout.folder / "supervisor-ready"
        ready.unlink(missing_ok=True)
        # Whatever containers wrote about themselves belongs to a machine that is gone.
        (layout.folder / "loaded.json").unlink(missing_ok=True)
        shutil.rmtree(layout.folder / "disks", ignore_errors=True)
        self._detach(
            *("unshare", "--net", "--mount", "--pid", "--fork"),
            *("--kill-child=KILL", "--mount-proc"),
            *(sys.executable, "-m", "tests.support.cluster.supervisor"),
            *(str(layout.checkout), str(layout.slot), str(programs)),
        )
        _wait_for(lambda: self._supervisor() is not None, "the supervisor", 30)
        supervisor = self._supervisor()
        self._detach(
            *(sys.executable, "-m", "tests.support.cluster.reaper"),
            *(str(supervisor), layout.cgroup),
        )
        _wait_for(ready.exists, "the supervisor", 30)
        child = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0]
        _run(
            *("ip", "link", "add", layout.link, "type", "veth"),
            *("peer", "name", "up0", "netns", child),
        )
        prefix = layout.network.prefixlen
        _run("ip", "address", "add", f"{layout.host_address}/{prefix}", "dev", layout.link)
        _run("ip", "link", "set", layout.link, "up")

    def _detach(self, *command: str) -> None:
        """Start a program that is nobody's child: it outlives us and is not ours to bury."""
        with (self._layout.logs / "supervisor.log").open("ab") as log:
            subprocess.run(
                ["setsid", "--fork", *command],
                cwd=self._layout.checkout,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def _supervisor(self) -> int | None:
        """Return the number of the process whose end is the end of the cluster, or None."""
        wanted = ["tests.support.cluster.supervisor", str(self._layout.checkout)]
        for pid, arguments in _processes():
            if arguments[0] == "unshare" and all(word in arguments for word in wanted):
                return pid
        return None

    def _in_supervisor(self, *command: str) -> None:
        if (pid := self._supervisor()) is None:
            raise ClusterError("there is no cluster of this checkout")
        child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        _run("nsenter", "--target", child, "--net", *command)

    def _healthy(self) -> bool:
        if self._supervisor() is None or not all(self.node_pid(node) for node in NODES):
            return False
        with contextlib.suppress(ClusterError):
            said = self.kubectl(
                *("get", "deployments", "--namespace=kube-system", "--request-timeout=3s"),
                "--output=jsonpath={.items[*].status.readyReplicas}",
            )
            return len(said.split()) == 2 and self._ready_nodes() == set(NODES)
        return False

    def _ready_nodes(self) -> set[str]:
        with contextlib.suppress(ClusterError):
            said = json.loads(self.kubectl("get", "nodes", "--output=json", "--request-timeout=3s"))
            return {
                node["metadata"]["name"]
                for node in said["items"]
                for condition in node["status"]["conditions"]
                if (condition["type"], condition["status"]) == ("Ready", "True")
            }
        return set()

    def _sign_of_life(self, node: str) -> str:
        with contextlib.suppress(ClusterError):
            return self.kubectl(
                *("get", "lease", node, "--namespace=kube-node-lease", "--request-timeout=3s"),
                "--output=jsonpath={.spec.renewTime}",
            )
        return ""

    def _wait_ready(self, nodes: tuple[str, ...]) -> None:
        _wait_for(
            lambda: set(nodes) <= self._ready_nodes(),
            f"{', '.join(nodes)} to be Ready (logs: {self._layout.logs})",
            PATIENCE_SECONDS,
        )

    def _keep_logs(self) -> None:
        kept = self._layout.folder.parent / "cluster-logs"
        shutil.rmtree(kept, ignore_errors=True)
        with contextlib.suppress(OSError):
            shutil.copytree(self._layout.logs, kept / "host")
            for node in NODES:
                shutil.copytree(self._layout.disk(node) / "logs", kept / node)
        say(f"  logs kept in {kept}")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let a SIGTERM end the work as Ctrl-C does, so that it is cleaned up after."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield every process of the machine, as the host counts them, with its arguments."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if arguments := (process / "cmdline").read_bytes().decode().split("\0"):
                    yield int(process.name), arguments


def _is_first_process(pid: int) -> bool:
    """Whether the process is number 1 of its own pid namespace."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return numbers.split()[-1] == "1"


def _link_exists(name: str) -> bool:
    return Path(f"/sys/class/net/{name}").exists()


def _wait_for(holds: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.2)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
