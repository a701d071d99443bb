"""The programs of a Kubernetes node, built once from Go modules into a cache.

Each module's folder is keyed by a hash of all that decides its outcome, so a changed pin builds
anew and two checkouts share what is equal. A build appears in the cache whole or not at all.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.cluster.errors import ClusterError
from tests.support.cluster.layout import cache_folder
from tests.support.cluster.progress import step

SOURCES: Final = Path(__file__).parent / "go"
KUBERNETES: Final = "v1.34.4"
_STAMPS: Final = " ".join(
    f"-X {name}={value}"
    for name, value in (
        ("k8s.io/component-base/version.gitVersion", KUBERNETES),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "34"),
        ("k8s.io/client-go/pkg/version.gitVersion", KUBERNETES),
    )
)
_FLAGS: Final = ("-trimpath", "-buildvcs=false")
# Module folder: program -> package.
PROGRAMS: Final[Mapping[str, Mapping[str, str]]] = {
    "kubernetes": {
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
        "etcd": "./cmd/etcd",
        "kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
        "local-path-provisioner": "github.com/rancher/local-path-provisioner",
        "pause": "./cmd/pause",
        "volume": "./cmd/volume",
    },
    "coredns": {"coredns": "."},
}


def key_of(module: str) -> str:
    """Return the hash of everything that decides what a module's build gives."""
    digest = hashlib.sha256()
    for part in (KUBERNETES, _STAMPS, *_FLAGS, *PROGRAMS[module], *PROGRAMS[module].values()):
        digest.update(part.encode() + b"\0")
    for file in sorted((SOURCES / module).rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(SOURCES)).encode() + b"\0")
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def ensure_binaries() -> Path:
    """Return a folder with every program, building what the cache does not have."""
    keys = {module: key_of(module) for module in PROGRAMS}
    whole = hashlib.sha256("".join(keys.values()).encode()).hexdigest()[:16]
    folder = cache_folder() / "programs" / whole
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{whole}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        parts = [_ensure_module(module, key) for module, key in keys.items()]
        making = Path(tempfile.mkdtemp(dir=folder.parent))
        for part in parts:
            for program in part.iterdir():
                os.link(program, making / program.name)
        making.chmod(0o755)
        making.rename(folder)
    return folder


def _ensure_module(module: str, key: str) -> Path:
    folder = cache_folder() / "modules" / f"{module}-{key}"
    if folder.exists():
        return folder
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if go is None:
        raise ClusterError("Go is needed to build Kubernetes: install it (golang.org/dl, ≥ 1.24)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=folder.parent))
    with step(f"download the Go modules of {module}"):
        _go(go, module, "mod", "download")
    for program, package in PROGRAMS[module].items():
        with step(f"build {program}"):
            flags = (*_FLAGS, "-ldflags", f"-s -w {_STAMPS}", "-o", str(making / program))
            _go(go, module, "build", *flags, package)
    making.chmod(0o755)
    making.rename(folder)
    return folder


def _go(go: str, module: str, *arguments: str) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run(
        [go, *arguments],
        cwd=SOURCES / module,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"go {' '.join(arguments[:2])} failed:\n{done.stderr[-3000:]}")
