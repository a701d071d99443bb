"""The operator on a cluster: images built and loaded, the chart installed, and waited for.

`make demo` and the tests of `tests/e2e` share it.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import helm_python

from tests.support.charts import OPERATOR_CHART
from tests.support.cluster import Cluster, images

RELEASE: Final = "shieldx"
NAMESPACE: Final = "shieldx-system"
VALUES: Final = {
    "image": {"repository": "localhost/shieldx", "tag": "dev"},
    "postgresImage": {"repository": "localhost/shieldx-postgres", "tag": "dev"},
}


def install(cluster: Cluster) -> None:
    """Bring the release to this checkout's images and chart, and wait until it serves."""
    identities = []
    for image in images.PRODUCT:
        identities.append(images.build(image))
        cluster.load(image, identities[-1])
    with _alone(cluster), _helm(cluster) as helm:
        if any(release["name"] == RELEASE for release in helm.list()):
            helm.upgrade(str(OPERATOR_CHART), RELEASE, VALUES)
        else:
            helm.install(str(OPERATOR_CHART), RELEASE, VALUES, create_namespace=True)
    for deployment in _deployments(cluster):
        _restart_on_new_image(cluster, deployment, identities[0])
    for deployment in _deployments(cluster):
        cluster.kubectl(
            "rollout", "status", deployment, f"--namespace={NAMESPACE}", "--timeout=180s"
        )


def uninstall(cluster: Cluster) -> None:
    """Remove the release; the definitions stay, and with them whatever people made."""
    with _alone(cluster), _helm(cluster) as helm:
        helm.uninstall(RELEASE)


def _helm(cluster: Cluster) -> helm_python.Config:
    return helm_python.Config(kubeconfig_path=str(cluster.kubeconfig), namespace=NAMESPACE)


@contextmanager
def _alone(cluster: Cluster) -> Iterator[None]:
    """Let one process at a time change the release."""
    lock = cluster.kubeconfig.with_suffix(".release.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _restart_on_new_image(cluster: Cluster, deployment: str, identity: str) -> None:
    """Replace the pods when the tag `dev` means another image than before."""
    patch = {"spec": {"template": {"metadata": {"annotations": {"shieldx.io/image": identity}}}}}
    cluster.kubectl("patch", deployment, f"--namespace={NAMESPACE}", f"--patch={json.dumps(patch)}")


def _deployments(cluster: Cluster) -> list[str]:
    found = cluster.kubectl("get", "deployments", f"--namespace={NAMESPACE}", "--output=name")
    return found.split()
