"""A real Kubernetes for demo and tests, by one command: `python -m tests.support.cluster up`.

from tests.support.cluster import cluster
it = cluster(); it.up(); it.load_images(); it.kubectl("get", "nodes")
"""

from tests.support.cluster.choose import cluster
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.errors import ClusterError
from tests.support.cluster.local import LocalCluster

__all__ = ["Cluster", "ClusterError", "LocalCluster", "cluster"]
