"""An experiment over a shop in memory: versions with known error shares, and a clock of its own."""

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, cast

from controllers.shadowexperiment.act import release
from controllers.shadowexperiment.manifests import Names
from controllers.shadowexperiment.trial import Pass, Trial
from shieldx.kube import Cluster, ConflictError
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.signals.readings import (
    Histogram,
    Pod,
    PodReadings,
    Problem,
    Question,
    Reading,
    Scrape,
    Series,
    Trouble,
)
from tests.support.fake_cluster import FakeCluster, Json, Killed

NAMESPACE, NAME, TARGET = "shop", "trial", "shop"
# Of 10,000 requests a pod and second this many are bad, by image.
BAD: Mapping[str, int] = {
    "v1": 50,
    "v2": 50,
    "bad": 900,
    "v3": 50,
    "slow": 50,
    "worse": 1000,
    "worst": 1100,
}
# Of 10,000 requests so many take at most so many seconds, by image; others are as the first.
LATENCIES: Mapping[str, Mapping[float, int]] = {
    "v1": {0.1: 5000, 0.25: 9500, 0.5: 9900, inf: 10_000},
    "slow": {0.1: 3500, 0.25: 8800, 0.5: 9800, inf: 10_000},
}
SPEC: Json = {
    "target": {"kind": "Deployment", "name": TARGET},
    "traffic": {"service": TARGET, "replicas": {"maxChallengerReplicas": 50}},
    "strategy": {
        "steps": [{"weight": 25, "for": "30s"}, {"weight": 50, "for": "30s"}],
        "warmUp": "10s",
        "requestTimeout": "10s",
    },
    "metrics": {
        "source": {"pods": {"port": 8080, "path": "/metrics"}},
        "guardrails": [
            {
                "name": "errors",
                "counter": "http_requests_total",
                "bad": 'code=~"5.."',
                "margin": {"absolute": "1%"},
                "baseRate": "1%",
            }
        ],
    },
    "decision": {
        "rollbackRisk": "1%",
        "promotionRisk": "1%",
        "bucket": "10s",
        "minBuckets": 3,
        "minDuration": "1m",
        "maxDuration": "24h",
        "onDeadline": "hold",
        "noData": "wait",
        "noDataAfter": "10m",
    },
    "promotion": {"policy": "automatic"},
    "runHistoryLimit": 10,
    "paused": False,
}


def template(image: str) -> Json:
    return {
        "metadata": {"labels": {"app": TARGET}},
        "spec": {"containers": [{"name": "shop", "image": image}]},
    }


class Traffic:
    """Counters that grow with the time that a pod has lived, as its version errs."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def scrape(
        self,
        questions: Sequence[Question],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        *,
        at: float,  # noqa: ARG002 - there is no other time than now.
    ) -> Scrape:
        return Scrape(
            champion={pod.uid: self._read(pod, questions) for pod in champion},
            challenger={pod.uid: self._read(pod, questions) for pod in challenger},
        )

    def _read(self, pod: Pod, questions: Sequence[Question]) -> PodReadings:
        if self._world.silent:
            problem = Problem(Trouble.NOT_SCRAPED, f"pod {pod.name} did not answer")
            return PodReadings(pod, {it.name: problem for it in questions})
        seconds = int(self._world.now.timestamp() - pod.started_at)
        if pod.ip in self._world.unreached:
            seconds = self._world.stood.setdefault(pod.uid, seconds)
        total, bad = 100 * seconds, BAD[pod.ip] * seconds // 100
        reading = Reading(
            {"code='200'": Series(total - bad, bad=False), "code='500'": Series(bad, bad=True)}
        )
        latency = Reading(
            {
                f"le={le}": Series(seconds * share // 100, le=le)
                for le, share in LATENCIES.get(pod.ip, LATENCIES["v1"]).items()
            }
        )
        return PodReadings(
            pod, {it.name: latency if isinstance(it, Histogram) else reading for it in questions}
        )


class World:
    """A cluster with the shop, its Service and an experiment, and an operator that may die."""

    def __init__(self, spec: Json | None = None, *, experiment: bool = True) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.cluster = FakeCluster(lambda: self.now)
        self.name = NAME
        self.replicas_seen: list[int] = []
        self.phases_seen: list[str] = []
        self.deaths = 0
        self.silent = False  # whether no pod answers a scrape
        self.unreached: set[str] = set()  # images whose counters stand still
        self.stood: dict[str, int] = {}  # how long their pods had counted by then
        self.cluster.put(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": TARGET},
                "spec": {
                    "replicas": 3,
                    "progressDeadlineSeconds": 120,
                    "selector": {"matchLabels": {"app": TARGET}},
                    "template": template("v1"),
                },
            }
        )
        self.cluster.put(
            {
                "kind": "Service",
                "metadata": {"name": TARGET},
                "spec": {"selector": {"app": TARGET}},
            }
        )
        self.cluster.settle()
        if experiment:
            self.cluster.put(
                {
                    "kind": "ShadowExperiment",
                    "metadata": {"name": NAME},
                    "spec": copy.deepcopy(spec or SPEC),
                }
            )
        self.trial = self._operator()

    @property
    def api(self) -> Cluster:
        """The cluster, as the operator's code takes it."""
        return cast("Cluster", self.cluster)

    @property
    def experiment(self) -> Json:
        return self.cluster.objects["ShadowExperiment", self.name]

    @property
    def status(self) -> Json:
        return cast("Json", self.experiment.get("status", {}))

    @property
    def phase(self) -> str:
        return str(self.status.get("phase"))

    @property
    def target(self) -> Json:
        return self.cluster.objects["Deployment", TARGET]

    @property
    def challenger(self) -> Json | None:
        return self.cluster.objects.get(("Deployment", f"{TARGET}-challenger"))

    @property
    def runs(self) -> list[Json]:
        return [o for (kind, _), o in self.cluster.objects.items() if kind == "ExperimentRun"]

    @property
    def serving(self) -> set[str]:
        """The images that the target's own pods run."""
        return {pod["spec"]["containers"][0]["image"] for pod in self.cluster.pods(TARGET)}

    async def step(self) -> None:
        """Let one pass happen, and then the time that it asked for."""
        pause = timedelta(seconds=0.2)
        try:
            await self.trial.measure()
            done: Pass = await self.trial.once(NAMESPACE, self.name)
            pause = max(done.check_again, pause)
        except ConflictError:
            pass
        except Killed:
            self.deaths += 1
            self.trial = self._operator()
        self._note()
        self.cluster.settle()
        self.now += pause

    async def until(self, *phases: str, passes: int = 400) -> None:
        """Go on until the experiment is in one of `phases`."""
        for _ in range(passes):
            await self.step()
            if self.phase in phases:
                return
        raise AssertionError(f"still {self.phase}: {self.status.get('decision')}")

    async def rest(self, passes: int = 12) -> None:
        """Let the operator look a few more times."""
        for _ in range(passes):
            await self.step()

    def die(self) -> None:
        """Let the operator's process end, and another begin."""
        self.trial = self._operator()

    def release(self, image: str) -> None:
        self.cluster.change(TARGET, template(image))

    def edit(self, **changes: Any) -> None:
        """Change the experiment's spec as a person would."""
        live = copy.deepcopy(self.experiment)
        live["spec"] |= changes
        self.cluster.put(live)

    async def recreate(self, name: str) -> None:
        """Delete the experiment as a person would, and create the same anew under `name`."""
        live = self.experiment
        names = Names(NAMESPACE, self.name, TARGET)
        await release(self.api, names, live["metadata"]["uid"], self.status)
        del self.cluster.objects["ShadowExperiment", self.name]
        self.name = name
        self.cluster.put(
            {"kind": "ShadowExperiment", "metadata": {"name": name}, "spec": live["spec"]}
        )
        self.trial = self._operator()

    def _note(self) -> None:
        replicas = self.challenger["spec"]["replicas"] if self.challenger else 0
        if not self.replicas_seen or self.replicas_seen[-1] != replicas:
            self.replicas_seen.append(replicas)
        if not self.phases_seen or self.phases_seen[-1] != self.phase:
            self.phases_seen.append(self.phase)

    def _operator(self) -> Trial:
        def source(_: ShadowExperimentSpec) -> Traffic:
            return Traffic(self)

        return Trial(self.api, source, lambda: self.now)
