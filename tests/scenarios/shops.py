"""A shop under experiment in a namespace of its own, its customers, and what is known of it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.namespace import Namespace

SHOP: Final = "shop"
FILES: Final = Path(__file__).parent / "files"
IMAGE: Final = "localhost/shieldx:dev"
CHAMPIONS: Final = 4
# Slow enough that waiting for a processor of a busy machine adds little to it.
MEDIAN_SECONDS: Final = 0.4
BUCKET_SECONDS: Final = 10
CHALLENGERS: Final = "shieldx.io/challenger-of=shop"

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """How a version behaves: its share of errors, how slow it is, and for how long it is cold."""

    name: str
    errors: float = 0.01
    slowness: float = 1.0
    cold_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What an experiment asks: its steps, as weights and durations, its warm-up and its buckets."""

    steps: tuple[tuple[int, str], ...] = ((20, "2m"), (50, "1m"))
    warm_up_seconds: int = 20
    bucket_seconds: int = BUCKET_SECONDS


USUAL: Final = Asked()


@dataclass(frozen=True, slots=True)
class Second:
    """Who answered the customers in the second that ended then."""

    end: int
    answers: Mapping[str, int]

    def of(self, version: str) -> int:
        return sum(n for key, n in self.answers.items() if key.split()[0] == version)


class Shop:
    """One shop: released, asked, troubled."""

    def __init__(self, world: Namespace, *, rate: int, source: Json) -> None:
        self.world = world
        self.rate = rate
        self._source = source
        self._asked = USUAL

    def open(self) -> None:
        """Start the champion and its customers, and put it under an experiment."""
        files = {each: (FILES / each).read_text() for each in ("shop.py", "customers.py")}
        self.world.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SHOP}, "data": files},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": SHOP},
                "spec": {"selector": {"app": SHOP}, "ports": [{"port": 8080}]},
            },
            _shop(Version("v1")),
        )
        self._rolled_out(SHOP)
        self.world.apply(_experiment(self._source, self._asked), _customers(self.rate))
        self._rolled_out("customers")

    def ask(self, asked: Asked) -> bool:
        """Ask this from now on; return whether what is known of the champion is lost by that."""
        before, self._asked = self._asked, asked
        if asked != before:
            self.world.apply(_experiment(self._source, asked))
        return asked.bucket_seconds != before.bucket_seconds

    def release(self, version: Version) -> None:
        self.world.apply(_shop(version))

    def take_dependency_away(self) -> None:
        self._tell("deployment/customers", "USR1")

    def give_dependency_back(self) -> None:
        self._tell("deployment/customers", "USR2")

    def challengers(self) -> list[str]:
        """Return the challenger's pods."""
        told = self.world.kubectl("get", "pods", f"--selector={CHALLENGERS}", "--output=name")
        return told.split()

    def slow_down(self, pods: Iterable[str]) -> None:
        for pod in pods:
            self._tell(pod, "USR1")

    def speed_up(self, pods: Iterable[str]) -> None:
        for pod in pods:
            self._tell(pod, "USR2")

    def record(self, name: str) -> Json:
        """Return the record of a run, which is finished."""
        run = self.world.get("experimentrun", name)
        assert run is not None, f"no record {name} in {self.world.name}"
        return run

    def seconds(self) -> Iterator[Second]:
        """Yield what the customers have told, second by second."""
        told = self.world.kubectl("logs", "deployment/customers", "--tail=-1")
        for line in told.splitlines():
            second = json.loads(line)
            yield Second(second.pop("end"), second)

    def _tell(self, pod: str, signal: str) -> None:
        self.world.kubectl("exec", pod, "--", "sh", "-c", f"kill -{signal} 1")

    def _rolled_out(self, deployment: str) -> None:
        self.world.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=240s")


def _experiment(source: Json, asked: Asked) -> Json:
    return {
        "apiVersion": "shieldx.io/v1alpha1",
        "kind": "ShadowExperiment",
        "metadata": {"name": SHOP},
        "spec": {
            "target": {"name": SHOP},
            "traffic": {"service": SHOP, "replicas": {}},
            "strategy": {
                "steps": [{"weight": weight, "for": hold} for weight, hold in asked.steps],
                "warmUp": f"{asked.warm_up_seconds}s",
                "requestTimeout": "10s",
            },
            "metrics": {
                "source": source,
                "guardrails": [
                    {
                        "name": "errors",
                        "counter": "http_requests_total",
                        "bad": 'code=~"5.."',
                        "margin": {"absolute": "2%"},
                    },
                    {
                        "name": "latency",
                        "histogram": "http_request_duration_seconds",
                        "quantile": "0.95",
                        "margin": {"relative": "100%"},
                    },
                ],
            },
            "decision": {"bucket": f"{asked.bucket_seconds}s", "minDuration": "2m"},
        },
    }


def _shop(version: Version) -> Json:
    environment = {
        "VERSION": version.name,
        "ERRORS": str(version.errors),
        "SLOWNESS": str(version.slowness),
        "COLD_SECONDS": str(version.cold_seconds),
        "MEDIAN_SECONDS": str(MEDIAN_SECONDS),
    }
    container = _container("shop.py", environment)
    container["readinessProbe"] = {
        "httpGet": {"path": "/ready", "port": 8080},
        "periodSeconds": 2,
        "timeoutSeconds": 5,
    }
    # Kubernetes goes on sending for a moment to a pod that is leaving.
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 4}}}
    deployment = _deployment(SHOP, container, CHAMPIONS)
    deployment["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return deployment


def _customers(rate: int) -> Json:
    return _deployment("customers", _container("customers.py", {"RATE": str(rate)}), 1)


def _deployment(name: str, container: Json, replicas: int) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 10,
                    "volumes": [{"name": "files", "configMap": {"name": SHOP}}],
                    "containers": [container],
                },
            },
        },
    }


def _container(program: str, environment: Mapping[str, str]) -> Json:
    return {
        "name": "program",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", f"/files/{program}"],
        "env": [{"name": k, "value": v} for k, v in environment.items()],
        "volumeMounts": [{"name": "files", "mountPath": "/files"}],
        "resources": {"requests": {"cpu": "5m", "memory": "24Mi"}},
    }
