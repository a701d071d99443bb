"""A Prometheus in the cluster that scrapes all shops, and can be stopped; and the story of that."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.scenarios.shops import Shop
from tests.scenarios.stories import ENDED, Run, Told, begin, end
from tests.scenarios.watching import LateError, Watch
from tests.support.cluster.errors import ClusterError
from tests.support.cluster.images import Image
from tests.support.namespace import Namespace

FOLDER: Final = Path(__file__).parent
IMAGE: Final = Image(
    "localhost/shieldx-scenarios-prometheus:1", "prometheus", FOLDER / "Dockerfile", FOLDER
)
NAME: Final = "prometheus"
SCRAPE_SECONDS: Final = 5
STOPPED_SECONDS: Final = 600
# What was scraped before the end may still make a bucket, and a bucket lasts ten seconds.
SEEN_AFTER_SECONDS: Final = 30

type Json = dict[str, Any]

_CONFIGURATION: Final = f"""\
global: {{scrape_interval: {SCRAPE_SECONDS}s, scrape_timeout: 3s}}
scrape_configs:
- job_name: shops
  kubernetes_sd_configs: [{{role: pod}}]
  relabel_configs:
  - {{source_labels: [__meta_kubernetes_pod_label_app], regex: shop, action: keep}}
  - {{source_labels: [__meta_kubernetes_pod_phase], regex: Running, action: keep}}
  - source_labels: [__meta_kubernetes_pod_ip]
    regex: (.+)
    replacement: "$1:8080"
    target_label: __address__
  - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
  - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
"""


def source(world: Namespace, shop: str) -> Json:
    """Return the source of an experiment in the namespace `shop`."""
    return {
        "prometheus": {
            "url": f"http://{NAME}.{world.name}:9090",
            "matchLabels": {"namespace": shop, "job": "shops"},
            "scrapeInterval": f"{SCRAPE_SECONDS}s",
        }
    }


def install(world: Namespace) -> None:
    """Start it, and wait until it answers."""
    world.apply(*_rights(world), *_server())
    _rolled_out(world)


def uninstall(world: Namespace) -> None:
    """Remove what does not go with the namespace."""
    for kind in ("clusterrole", "clusterrolebinding"):
        world.kubectl("delete", kind, world.name, "--ignore-not-found")


class Outage:
    """Stops the Prometheus for ten minutes once all who wait for it are being measured."""

    def __init__(self, world: Namespace, shops: int) -> None:
        self._world = world
        self._ready = threading.Barrier(shops, action=self._stop)
        self._over = threading.Barrier(shops, action=self._start)
        self.began = 0.0

    def wait(self, shop: Shop, watch: Watch) -> list[str]:
        """Live through the outage; return what was not as it should be meanwhile."""
        name = shop.world.name
        watch.until(name, lambda it: it.get("samples", 0) > 0 or it.get("phase") in ENDED, 400)
        self._ready.wait(timeout=400)
        before, faults = watch.status(name), set[str]()
        while time.monotonic() < self.began + STOPPED_SECONDS:
            time.sleep(2)
            status = watch.status(name)
            if status.get("phase") != "Stepping":
                faults.add(f"was {status.get('phase')} without a Prometheus")
            blind = time.monotonic() > self.began + SEEN_AFTER_SECONDS
            if blind and status.get("evidence") == "Sufficient":
                faults.add("called evidence sufficient without a Prometheus")
            if blind and status.get("step", {}).get("weight", 0) > before["step"]["weight"]:
                faults.add("raised the weight without a Prometheus")
        self._over.wait(timeout=400)
        return sorted(faults)

    def _stop(self) -> None:
        self._world.kubectl("scale", f"deployment/{NAME}", "--replicas=0")
        self._world.wait("it is gone", lambda: not self._pods(), 120)
        self.began = time.monotonic()

    def _start(self) -> None:
        self._world.kubectl("scale", f"deployment/{NAME}", "--replicas=1")
        _rolled_out(self._world)

    def _pods(self) -> str:
        return self._world.kubectl("get", "pods", f"--selector=app={NAME}", "--output=name").strip()


def play(shop: Shop, watch: Watch, outage: Outage, run: Run) -> Told:
    """Release an equal challenger, stop its Prometheus in the middle, and wait for its end."""
    try:
        record = begin(shop, watch, run.version)
        faults = outage.wait(shop, watch)
        told = end(shop, watch, run, record)
    except (LateError, ClusterError, AssertionError, threading.BrokenBarrierError) as problem:
        return Told(run, "none", repr(problem), (repr(problem),))
    return replace(told, faults=(*told.faults, *faults))


def _rolled_out(world: Namespace) -> None:
    world.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=180s")


def _rights(world: Namespace) -> list[Json]:
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": world.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": world.name}
    rights = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": world.name}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}},
        {
            **rights,
            "kind": "ClusterRole",
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
            ],
        },
        {**rights, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
    ]


def _server() -> list[Json]:
    container = {
        "name": NAME,
        "image": IMAGE.tag,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--config.file=/etc/scenarios/prometheus.yml", "--storage.tsdb.path=/data"],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 2},
        "volumeMounts": [
            {"name": "configuration", "mountPath": "/etc/scenarios"},
            {"name": "data", "mountPath": "/data"},
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
    }
    pods = {
        "metadata": {"labels": {"app": NAME}},
        "spec": {
            "serviceAccountName": NAME,
            "terminationGracePeriodSeconds": 5,
            "volumes": [
                {"name": "configuration", "configMap": {"name": NAME}},
                {"name": "data", "emptyDir": {}},
            ],
            "containers": [container],
        },
    }
    labels = {"app": NAME}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME},
            "data": {"prometheus.yml": _CONFIGURATION},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": labels, "ports": [{"port": 9090}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pods},
        },
    ]
