"""An app under experiment on a real cluster: released, watched, and its operator killed."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.cluster import configs
from tests.support.cluster.local import LocalCluster
from tests.support.install import NAMESPACE as OPERATOR_NAMESPACE
from tests.support.namespace import Namespace

APP: Final = "app"
PROGRAM: Final = Path(__file__).parents[1] / "e2e" / "files" / "counter.py"
IMAGE: Final = "localhost/shieldx:dev"
PACE: Final = 0.3

type Json = dict[str, Any]


class LiveTrial:
    """One app with two pods, its Service and its experiment."""

    program = PROGRAM

    def __init__(self, world: Namespace) -> None:
        self.world = world

    def install(self, *, experiment: bool = True, **decision: str) -> None:
        """Start the champion, wait for it, and put it under an experiment that decides so."""
        self.world.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": APP},
                "data": {self.program.name: self.program.read_text()},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": APP},
                "spec": {"selector": {"app": APP}, "ports": [{"port": 8080}]},
            },
        )
        self.release("v1")
        self.world.kubectl("rollout", "status", f"deployment/{APP}", "--timeout=120s")
        if experiment:
            self.world.apply(self.manifest(**decision))
            self.until("Idle")

    @staticmethod
    def manifest(**decision: str) -> Json:
        """The experiment, quick but by the same rule as any other."""
        return {
            "apiVersion": "shieldx.io/v1alpha1",
            "kind": "ShadowExperiment",
            "metadata": {"name": APP},
            "spec": {
                "target": {"name": APP},
                "traffic": {"service": APP, "replicas": {}},
                "strategy": {
                    "steps": [{"weight": 30, "for": "8s"}, {"weight": 50, "for": "8s"}],
                    "warmUp": "2s",
                    "requestTimeout": "2s",
                },
                "metrics": {
                    "source": {"pods": {"port": 8080}},
                    "guardrails": [
                        {
                            "name": "errors",
                            "counter": "http_requests_total",
                            "bad": 'code=~"5.."',
                            "margin": {"absolute": "2%"},
                        }
                    ],
                },
                "decision": {"bucket": "2s", "minDuration": "15s", **decision},
            },
        }

    def release(
        self, version: str, *, error_rate: float = 0.01, ready: bool = True, rate: int = 500
    ) -> None:
        """Apply the app's manifests as git would, from the side of the server."""
        environment = {
            "VERSION": version,
            "ERROR_RATE": str(error_rate),
            "READY": "yes" if ready else "no",
            "RATE": str(rate),
        }
        self.world.apply(deployment(environment))

    @property
    def status(self) -> Json:
        live = self.world.get("shadowexperiment", APP) or {}
        return dict(live.get("status", {}))

    @property
    def phase(self) -> str:
        return str(self.status.get("phase"))

    @property
    def target(self) -> Json:
        live = self.world.get("deployment", APP)
        assert live is not None
        return live

    def versions(self) -> list[str]:
        """Return the versions of the target's own pods that run."""
        told = self.world.kubectl(
            "get", "pods", f"--selector=app={APP},!shieldx.io/challenger-of", "--output=json"
        )
        return sorted(
            env["value"]
            for pod in json.loads(told)["items"]
            if "deletionTimestamp" not in pod["metadata"]
            for env in pod["spec"]["containers"][0]["env"]
            if env["name"] == "VERSION"
        )

    def outcomes(self) -> list[str]:
        """Return how the runs ended, oldest first."""
        told = self.world.kubectl(
            "get", "experimentruns", "--sort-by=.metadata.creationTimestamp", "--output=json"
        )
        return [run.get("status", {}).get("outcome", "") for run in json.loads(told)["items"]]

    def until(self, *phases: str, seconds: float = 240) -> None:
        """Wait for one of the phases."""
        try:
            self.world.wait(
                f"the phase is one of {phases}", lambda: self.phase in phases, seconds, poll=PACE
            )
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.phase}, {self.status.get('decision')}") from late

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """Watch the challenger's replicas, from the API server itself, in the order they were."""
        seen = [0]
        watch = subprocess.Popen(
            [
                self.world.cluster.kubectl_path,
                f"--kubeconfig={self.world.cluster.kubeconfig}",
                f"--namespace={self.world.name}",
                *("get", "deployments", "--watch", "--output-watch-events"),
                "--selector=shieldx.io/challenger-of",
                '--output=jsonpath={.type} {.object.spec.replicas}{"\\n"}',
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        reader = threading.Thread(target=_collect, args=(watch, seen), daemon=True)
        reader.start()
        try:
            yield seen
        finally:
            watch.kill()
            reader.join()
            watch.communicate()

    def kill_operator(self) -> None:
        """End the operator's process by SIGKILL: nothing in it gets to say a word."""
        cluster = self.world.cluster
        told = cluster.kubectl(
            f"--namespace={OPERATOR_NAMESPACE}",
            *("get", "pods", "--selector=app.kubernetes.io/component=operator", "--output=json"),
        )
        (pod,) = json.loads(told)["items"]
        if not isinstance(cluster, LocalCluster):
            cluster.kubectl(
                f"--namespace={OPERATOR_NAMESPACE}",
                *("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0"),
            )
            return
        container = pod["status"]["containerStatuses"][0]["containerID"].split("//")[1]
        cluster.exec_in_node(
            pod["spec"]["nodeName"],
            *("ctr", "--address", configs.CONTAINERD_SOCKET, "--namespace", "k8s.io"),
            *("tasks", "kill", "--signal", "SIGKILL", container),
        )


def deployment(environment: Json, program: str = PROGRAM.name, **metadata: Any) -> Json:
    """The app's manifest as it lies in git: it says nothing of a pause."""
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP, **metadata},
        "spec": {
            "replicas": 2,
            "progressDeadlineSeconds": 30,
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": {"app": APP}},
            "template": {
                "metadata": {"labels": {"app": APP}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 1,
                    "volumes": [{"name": "app", "configMap": {"name": APP}}],
                    "containers": [
                        {
                            "name": "app",
                            "image": IMAGE,
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["python3", f"/app/{program}"],
                            "env": [{"name": k, "value": v} for k, v in environment.items()],
                            "readinessProbe": probe,
                            "volumeMounts": [{"name": "app", "mountPath": "/app"}],
                            "resources": {"requests": {"cpu": "5m", "memory": "24Mi"}},
                        }
                    ],
                },
            },
        },
    }


def _collect(watch: "subprocess.Popen[str]", seen: list[int]) -> None:
    for line in watch.stdout or ():
        kind, replicas = line.split()
        now = 0 if kind == "DELETED" else int(replicas)
        if seen[-1] != now:
            seen.append(now)
