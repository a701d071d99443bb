"""Outlives a cluster by a moment: when its process is gone, removes its empty control groups."""

import os
import select
import sys

from tests.support.cluster import cgroups

if __name__ == "__main__":
    try:
        descriptor = os.pidfd_open(int(sys.argv[1]))
        select.select([descriptor], [], [])
    except ProcessLookupError:
        pass
    cgroups.sweep(sys.argv[2])
