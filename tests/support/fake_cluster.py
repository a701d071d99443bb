"""A cluster in memory: keeps objects, counts writes, and rolls Deployments out at once.

It answers as `shieldx.kube.Cluster` does, conflicts included, and can die after any write.
"""

import copy
from collections.abc import Callable
from datetime import datetime
from typing import Any

from shieldx.kube import ConflictError
from shieldx.webhook.gate import rule

type Json = dict[str, Any]
type Objects = list[Json]  # here, since a method of the class is called list

API = {"ShadowExperiment": "shieldx.io/v1alpha1", "ExperimentRun": "shieldx.io/v1alpha1"}


class Killed(BaseException):
    """The operator's process has ended here; nothing catches it."""


class FakeCluster:
    """Objects by kind and name, of one namespace."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.objects: dict[tuple[str, str], Json] = {}
        self.writes: list[str] = []
        self.die_after: int | None = None
        self.broken: set[str] = set()  # images whose pods never get ready
        self._clock = clock
        self._counter = 0

    # --- what the operator calls ------------------------------------------------------------

    async def get(self, _: str, kind: str, namespace: str | None, name: str) -> Json | None:
        del namespace
        return copy.deepcopy(self.objects.get((kind, name)))

    async def list(
        self, _: str, kind: str, namespace: str | None = None, labels: str | None = None
    ) -> Objects:
        del namespace
        wanted = dict(part.split("=") for part in labels.split(",")) if labels else {}
        return [
            copy.deepcopy(found)
            for (its_kind, _), found in self.objects.items()
            if its_kind == kind and wanted.items() <= found["metadata"].get("labels", {}).items()
        ]

    async def apply(self, manifest: Json, **_: Any) -> Json:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        found = self.objects.get((kind, name), {"status": {}})
        return self._write("apply", kind, name, merge(found, manifest))

    async def create(self, manifest: Json) -> bool:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if (kind, name) in self.objects:
            return False
        self._write("create", kind, name, copy.deepcopy(manifest))
        return True

    async def patch(
        self,
        _: str,
        kind: str,
        namespace: str | None,
        name: str,
        body: Json,
        *,
        resource_version: str | None = None,
        subresource: str | None = None,
    ) -> Json | None:
        del namespace, subresource
        found = self.objects.get((kind, name))
        if found is None:
            return None
        if resource_version not in {None, found["metadata"]["resourceVersion"]}:
            raise ConflictError(f"{kind} {name} has changed")
        return self._write("patch", kind, name, merge(found, body))

    async def delete(self, _: str, kind: str, namespace: str | None, name: str, **__: Any) -> bool:
        del namespace
        found = self.objects.pop((kind, name), None)
        if found is not None:
            self._collect(found["metadata"]["uid"])
            self._note(f"delete {kind} {name}")
        return found is not None

    # --- what the world does ----------------------------------------------------------------

    def put(self, manifest: Json) -> Json:
        """Store an object as a person would, unseen by the count of writes."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        return self._store(kind, name, copy.deepcopy(manifest))

    def change(self, name: str, template: Json) -> None:
        """Change a Deployment's template as git would, through the gate."""
        old = self.objects["Deployment", name]
        new = copy.deepcopy(old)
        new["spec"]["template"] = copy.deepcopy(template)
        if "shieldx.io/experiment" in new["metadata"].get("labels", {}):
            for each in rule(old, new).patch:
                *path, last = [p.replace("~1", "/") for p in each["path"][1:].split("/")]
                place = new
                for part in path:
                    place = place[part]
                if each["op"] == "add":
                    place[last] = each["value"]
                else:
                    del place[last]
        self._store("Deployment", name, new)

    def settle(self) -> None:
        """Let the controllers of Kubernetes do what they would."""
        for (kind, _), found in list(self.objects.items()):
            if kind == "Deployment":
                self._roll(found)

    def pods(self, deployment: str) -> Objects:
        """Return the pods of a Deployment."""
        uid = self.objects["Deployment", deployment]["metadata"]["uid"]
        sets = [s["metadata"]["uid"] for s in self._owned("ReplicaSet", uid)]
        return [pod for each in sets for pod in self._owned("Pod", each)]

    def _roll(self, deployment: Json) -> None:
        spec, metadata = deployment["spec"], deployment["metadata"]
        sets = self._owned("ReplicaSet", metadata["uid"])
        current = [s for s in sets if s["spec"]["template"] == spec["template"]]
        if not spec.get("paused"):
            for stale in sets:
                if stale not in current:
                    del self.objects["ReplicaSet", stale["metadata"]["name"]]
                    self._collect(stale["metadata"]["uid"])
            if not current:
                current = [self._replica_set(deployment)]
        for each in current if not spec.get("paused") else sets:
            self._scale(each, spec["replicas"])
        ready = sum(is_ready(pod) for pod in self.pods(metadata["name"]))
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": spec["replicas"],
            "updatedReplicas": spec["replicas"] if current else 0,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "conditions": [{"type": "Available", "status": str(ready >= spec["replicas"] > 0)}],
        }
        if deployment.get("status") != status:
            deployment["status"] = status
            self._version(deployment)

    def _replica_set(self, deployment: Json) -> Json:
        name = f"{deployment['metadata']['name']}-{self._counter}"
        return self.put(
            {
                "kind": "ReplicaSet",
                "metadata": {
                    "name": name,
                    "labels": dict(deployment["spec"]["template"]["metadata"]["labels"]),
                    "ownerReferences": [{"controller": True, "uid": deployment["metadata"]["uid"]}],
                },
                "spec": {"template": copy.deepcopy(deployment["spec"]["template"])},
                "status": {"replicas": deployment["spec"]["replicas"]},
            }
        )

    def _scale(self, replica_set: Json, replicas: int) -> None:
        uid, template = replica_set["metadata"]["uid"], replica_set["spec"]["template"]
        pods = self._owned("Pod", uid)
        for surplus in pods[replicas:]:
            del self.objects["Pod", surplus["metadata"]["name"]]
        image = template["spec"]["containers"][0]["image"]
        for _ in range(replicas - len(pods)):
            at = self._clock().isoformat()
            ready = "False" if image in self.broken else "True"
            self.put(
                {
                    "kind": "Pod",
                    "metadata": {
                        "name": f"pod-{self._counter}",
                        "creationTimestamp": at,
                        "labels": dict(template["metadata"]["labels"]),
                        "ownerReferences": [{"controller": True, "uid": uid}],
                    },
                    "spec": template["spec"],
                    "status": {
                        "podIP": image,  # where the fake source finds the version
                        "conditions": [
                            {"type": "Ready", "status": ready, "lastTransitionTime": at}
                        ],
                        "containerStatuses": [
                            {"restartCount": 0, "state": {"running": {"startedAt": at}}}
                        ],
                    },
                }
            )

    def _owned(self, kind: str, uid: str) -> Objects:
        return [
            found
            for (its_kind, _), found in self.objects.items()
            if its_kind == kind
            and any(o["uid"] == uid for o in found["metadata"].get("ownerReferences", []))
        ]

    def _collect(self, uid: str) -> None:
        for kind in ("ReplicaSet", "Pod"):
            for orphan in self._owned(kind, uid):
                del self.objects[kind, orphan["metadata"]["name"]]
                self._collect(orphan["metadata"]["uid"])

    def _write(self, verb: str, kind: str, name: str, manifest: Json) -> Json:
        stored = self._store(kind, name, manifest)
        self._note(f"{verb} {kind} {name}")
        return copy.deepcopy(stored)

    def _note(self, write: str) -> None:
        self.writes.append(write)
        if self.die_after is not None and len(self.writes) >= self.die_after:
            self.die_after = None
            raise Killed

    def _store(self, kind: str, name: str, manifest: Json) -> Json:
        before = self.objects.get((kind, name))
        metadata = manifest["metadata"]
        changed = before is None or before.get("spec") != manifest.get("spec")
        metadata["generation"] = metadata.get("generation", 0) + changed
        self._counter += 1
        metadata.setdefault("uid", f"uid-{self._counter}")
        self.objects[kind, name] = manifest
        self._version(manifest)
        return manifest

    def _version(self, manifest: Json) -> None:
        self._counter += 1
        manifest["metadata"]["resourceVersion"] = str(self._counter)


def is_ready(pod: Json) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")


def merge(live: Json, patch: Json) -> Json:
    """Merge `patch` into `live` as RFC 7386 says."""
    merged = copy.deepcopy(live)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            there = merged.get(key)
            merged[key] = merge(there if isinstance(there, dict) else {}, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged
