"""The status of all experiments, asked of the API server once for everybody who wants to know."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self

from tests.support.cluster import Cluster
from tests.support.cluster.errors import ClusterError

EVERY_SECONDS: Final = 2.0

type Json = dict[str, Any]


class LateError(Exception):
    """What should have come did not; the message says how things stood."""


class Watch:
    """Knows the status of the one experiment of each namespace, at most some seconds old."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._statuses: dict[str, Json] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def status(self, namespace: str) -> Json:
        return self._statuses.get(namespace, {})

    def until(self, namespace: str, claim: Callable[[Json], bool], seconds: float) -> Json:
        """Return the first status that makes a claim true, or LateError."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (status := self.status(namespace)) and claim(status):
                return status
            time.sleep(EVERY_SECONDS / 2)
        status = self.status(namespace)
        said = f"{status.get('phase')}: {status.get('decision')}"
        raise LateError(f"after {seconds:.0f} s still {said}")

    def _go_on(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            try:
                told = self._cluster.kubectl("get", "shadowexperiments", "-A", "--output=json")
            except ClusterError:
                continue  # It is asked again.
            self._statuses = {
                live["metadata"]["namespace"]: live.get("status", {})
                for live in json.loads(told)["items"]
            }
