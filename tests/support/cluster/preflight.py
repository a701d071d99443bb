"""What the local cluster needs of the machine, said early and in one list."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.cluster.errors import ClusterError
from tests.support.cluster.layout import cache_folder
from tests.support.cluster.progress import step

# Program: the Debian package that has it.
PACKAGES: Final = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ipset": "ipset",
    "socat": "socat",
    "ip": "iproute2",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}
ROOM: Final = 8 * 2**30


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine is like."""

    root: bool
    linux: bool
    go: bool
    apt: bool
    free_bytes: int
    missing_packages: tuple[str, ...]


def look() -> Machine:
    """Look at this machine."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    sbin = "/usr/sbin:/sbin"
    missing = sorted(
        package
        for program, package in PACKAGES.items()
        if not (
            Path(program).exists()
            if program.startswith("/")
            else shutil.which(program) or shutil.which(program, path=sbin)
        )
    )
    return Machine(
        root=os.geteuid() == 0,
        linux=os.uname().sysname == "Linux",
        go=bool(shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")),
        apt=shutil.which("apt-get") is not None,
        free_bytes=shutil.disk_usage(folder).free,
        missing_packages=tuple(missing),
    )


def problems(machine: Machine) -> list[str]:
    """Return what a person must do before the cluster can be made."""
    found = []
    if not machine.linux:
        found.append("CLUSTER=local needs Linux: use CLUSTER=kind with Docker")
    if not machine.root:
        found.append("CLUSTER=local needs root (namespaces, mounts): run it with sudo")
    if not machine.go:
        found.append("Go ≥ 1.24 is needed to build Kubernetes: see go.dev/doc/install")
    if machine.free_bytes < ROOM:
        found.append(
            f"{ROOM >> 30} GiB of disk are needed for builds and images, "
            f"{machine.free_bytes >> 30} are free: make room or set SHIELDX_CACHE"
        )
    if machine.missing_packages and not (machine.root and machine.apt):
        found.append(f"install these packages: {' '.join(machine.missing_packages)}")
    return found


def ensure() -> None:
    """Install missing packages; ClusterError with everything that stands in the way."""
    machine = look()
    if found := problems(machine):
        raise ClusterError("\n".join(f"- {problem}" for problem in found))
    if machine.missing_packages:
        with step(f"install {' '.join(machine.missing_packages)}"):
            _apt("update")
            _apt("install", "--yes", "--no-install-recommends", *machine.missing_packages)


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"apt-get {arguments[0]} failed:\n{done.stderr[-2000:]}")
