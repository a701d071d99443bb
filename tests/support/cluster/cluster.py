"""What demo and tests may do with a cluster, whichever kind it is."""

import abc
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.cluster import images
from tests.support.cluster.errors import ClusterError
from tests.support.cluster.progress import step

KUBECTL_SECONDS: Final = 300


class Cluster(abc.ABC):
    """A Kubernetes cluster with the product's images in it."""

    @property
    @abc.abstractmethod
    def kubeconfig(self) -> Path:
        """The file that lets one in as administrator."""

    @property
    def kubectl_path(self) -> str:
        """The kubectl to use."""
        found = shutil.which("kubectl")
        if found is None:
            raise ClusterError(
                "kubectl is needed: install it, or use CLUSTER=local, which builds it"
            )
        return found

    @abc.abstractmethod
    def up(self) -> None:
        """Make the cluster, or repair it; quick where it is healthy."""

    @abc.abstractmethod
    def down(self) -> None:
        """Remove everything that `up` made."""

    @abc.abstractmethod
    def load(self, image: images.Image, identity: str) -> None:
        """Bring a built image to every node that does not have it."""

    def load_images(self) -> None:
        """Build the product's images and bring them to the nodes."""
        for image in images.PRODUCT:
            self.load(image, images.build(image))

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess.
        """Run kubectl and return what it prints; ClusterError with its words if it fails."""
        done = subprocess.run(
            [self.kubectl_path, f"--kubeconfig={self.kubeconfig}", *arguments],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=KUBECTL_SECONDS,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


class CurrentCluster(Cluster):
    """The cluster of the current context: used as it is, and never removed."""

    @property
    def kubeconfig(self) -> Path:
        return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")

    def up(self) -> None:
        self.kubectl("get", "--raw", "/readyz")

    def down(self) -> None:
        """Leave the cluster alone: this tool has not made it."""

    def load(self, image: images.Image, identity: str) -> None:
        """Images must come from a registry that the cluster can reach."""
        del identity
        raise ClusterError(
            f"push {image.tag} to a registry of yours and install the chart with its name: "
            "CLUSTER=current loads no images"
        )


class KindCluster(Cluster):
    """kind, where there is a Docker daemon."""

    def __init__(self, checkout_identity: str, folder: Path) -> None:
        self._name = f"shieldx-{checkout_identity}"
        self._folder = folder

    @property
    def kubeconfig(self) -> Path:
        return self._folder / "admin.kubeconfig"

    def up(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._name not in _kind("get", "clusters").split():
            with step("create the kind cluster"):
                _kind(
                    *("create", "cluster", "--name", self._name, "--wait", "180s"),
                    *("--config", str(Path(__file__).parent / "kind.yaml")),
                    *("--kubeconfig", str(self.kubeconfig)),
                )

    def down(self) -> None:
        _kind("delete", "cluster", "--name", self._name)

    def load(self, image: images.Image, identity: str) -> None:
        del identity
        with step(f"load image {image.tag}"):
            _kind("load", "docker-image", "--name", self._name, image.tag)


def _kind(*arguments: str) -> str:
    done = subprocess.run(["kind", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"kind {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
