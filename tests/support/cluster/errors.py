"""What can go wrong with a cluster, in words that say what to do."""


class ClusterError(Exception):
    """The cluster cannot be made or used."""
