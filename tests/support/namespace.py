"""One namespace of a real cluster, as a test sees it: apply, read, wait, look inside."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.support.cluster import Cluster
from tests.support.cluster.errors import ClusterError

POLL_SECONDS: Final = 1.0

type Json = dict[str, Any]


class Namespace:
    """A namespace by name; whoever makes it removes it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    @classmethod
    @contextmanager
    def made(cls, cluster: Cluster, name: str) -> Iterator["Namespace"]:
        """Make the namespace anew, and remove it in the end."""
        world = cls(cluster, name)
        world.remove()
        cluster.kubectl("create", "namespace", name)
        try:
            yield world
        finally:
            world.remove()

    def remove(self) -> None:
        """Delete the namespace with all that is in it, which must not hang."""
        self.cluster.kubectl(
            "delete", "namespace", self.name, "--ignore-not-found", "--timeout=110s"
        )

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl(f"--namespace={self.name}", *arguments, input=stdin)

    def apply(self, *manifests: Json) -> None:
        self.kubectl(
            "apply", "--server-side", "--force-conflicts", "--filename=-", stdin=_stream(manifests)
        )

    def get(self, kind: str, name: str) -> Json | None:
        """Return the live object, or None."""
        told = self.kubectl("get", kind, name, "--ignore-not-found", "--output=json")
        return None if not told.strip() else dict(json.loads(told))

    def wait(
        self, what: str, holds: Callable[[], bool], seconds: float = 120, poll: float = POLL_SECONDS
    ) -> None:
        """Wait until a claim holds; an API server that does not answer is asked again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if holds():
                    return
            except ClusterError:
                pass
            time.sleep(poll)
        raise AssertionError(f"in {seconds:.0f} s it did not happen that {what}")

    def condition(self, kind: str, name: str, claim: str) -> tuple[str, str, str]:
        """Return status, reason and message of a condition; empty where there is none."""
        live = self.get(kind, name) or {}
        for found in live.get("status", {}).get("conditions", []):
            if found["type"] == claim:
                return found["status"], found["reason"], found["message"]
        return "", "", ""

    def events(self, name: str) -> list[Json]:
        """Return the events about objects of that name."""
        told = self.kubectl(
            "get", "events", f"--field-selector=involvedObject.name={name}", "--output=json"
        )
        return list(json.loads(told)["items"])


def _stream(manifests: tuple[Json, ...]) -> str:
    return "\n---\n".join(json.dumps(manifest) for manifest in manifests)
