"""Which cluster a command uses."""

import os
import shutil
from typing import Final

from tests.support.cluster.cluster import Cluster, CurrentCluster, KindCluster
from tests.support.cluster.errors import ClusterError
from tests.support.cluster.images import docker_answers
from tests.support.cluster.layout import CHECKOUT, Layout, preferred_slot
from tests.support.cluster.local import LocalCluster

KINDS: Final = ("auto", "kind", "local", "current")


def choose(kind: str, *, docker: bool, kind_installed: bool) -> str:
    """Return the kind of cluster that `kind` means on a machine like this."""
    if kind not in KINDS:
        raise ClusterError(f"CLUSTER={kind} is unknown: use one of {', '.join(KINDS)}")
    if kind == "auto":
        return "kind" if docker and kind_installed else "local"
    return kind


def cluster(kind: str | None = None) -> Cluster:
    """Return this checkout's cluster; by default the kind that $CLUSTER names."""
    asked = kind or os.environ.get("CLUSTER") or "auto"
    chosen = choose(
        asked,
        docker=asked == "auto" and docker_answers(),
        kind_installed=bool(shutil.which("kind")),
    )
    if chosen == "kind":
        layout = Layout(CHECKOUT, preferred_slot(CHECKOUT))
        return KindCluster(layout.identity, layout.folder)
    return CurrentCluster() if chosen == "current" else LocalCluster()
