"""Look at an experiment's target, challenger, pods and record; decide nothing."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from controllers.pods import condition, first_trouble, stuck
from controllers.shadowexperiment.facts import RESTING, Challenger, Observed, Record, Target
from controllers.shadowexperiment.manifests import (
    LEAST_READY_SECONDS,
    REVISION_ANNOTATION,
    TARGET_LABEL,
    Names,
    Template,
)
from shieldx.kube import Cluster, Manifest
from shieldx.resources.relay import CONTAINER, LEDGER_ANNOTATION, METRICS_PORT
from shieldx.resources.shadowexperiment import (
    API_VERSION,
    CHALLENGER_LABEL,
    EXPERIMENT_LABEL,
    HELD_ANNOTATION,
    KIND,
    RUN_KIND,
    ShadowExperimentSpec,
    revision,
)
from shieldx.signals.readings import Pod

DEPLOYMENT: Final = ("apps/v1", "Deployment")
DEFAULT_PROGRESS_DEADLINE_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, and the pods of both arms for the metrics."""

    observed: Observed
    champion: Sequence[Pod]
    challenger: Sequence[Pod]


async def observe(
    cluster: Cluster,
    names: Names,
    spec: ShadowExperimentSpec,
    live: Manifest,
    now: datetime,
) -> Look:
    """Return the experiment `live` as it is now."""
    namespace = names.namespace
    deployment, challenger, service, run = await asyncio.gather(
        cluster.get(*DEPLOYMENT, namespace, names.target),
        cluster.get(*DEPLOYMENT, namespace, names.challenger),
        cluster.get("v1", "Service", namespace, spec.service),
        _run(cluster, namespace, live.get("status", {})),
    )
    replica_sets: list[Manifest] = []
    if deployment is not None:
        labels = selector(deployment["spec"]["selector"])
        replica_sets = await cluster.list("apps/v1", "ReplicaSet", namespace, labels)
        pods = await cluster.list("v1", "Pod", namespace, labels)
        sets = [rs for rs in replica_sets if owned(rs, deployment["metadata"]["uid"])]
        uids = {rs["metadata"]["uid"] for rs in sets}
        champion_pods = [pod for pod in pods if any(owned(pod, uid) for uid in uids)]
    else:
        sets, champion_pods = [], []
    challenger_pods = await cluster.list(
        "v1", "Pod", namespace, f"{CHALLENGER_LABEL}={names.target}"
    )
    target = None if deployment is None else _target(names, deployment, sets, champion_pods)
    ready_for = _ready_for(deployment)
    metadata = live["metadata"]
    observed = Observed(
        generation=metadata["generation"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        spec=live["spec"],
        status=live.get("status", {}),
        target=target,
        problem=await _problem(
            cluster,
            names,
            spec,
            uid=metadata["uid"],
            deployment=deployment,
            service=service,
            challenger=challenger,
        ),
        challenger=_challenger(challenger, metadata["uid"]),
        challenger_pods=len(challenger_pods),
        challenger_ready=sum(_counts(pod, ready_for, now) for pod in challenger_pods),
        trouble=first_trouble(challenger_pods, _unready),
        records=await _records(cluster, names, target, live.get("status", {})),
        run_exists=run is not None,
        run_finished=run is not None and "outcome" in run.get("status", {}),
        trajectory={} if run is None else run.get("status", {}).get("trajectory", {}),
    )
    return Look(observed, _arm(champion_pods), _arm(challenger_pods))


def selector(labels: Mapping[str, Any]) -> str:
    """Return a label selector of a Deployment as a query."""
    parts = [f"{key}={value}" for key, value in (labels.get("matchLabels") or {}).items()]
    for each in labels.get("matchExpressions") or []:
        key, values = each["key"], ",".join(each.get("values") or [])
        match each["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)


def _unready(pod: Manifest) -> str | None:
    """Return why a pod does not get ready, if only that it is not."""
    if said := stuck(pod):
        return said
    ready = condition(pod, "Ready")
    if ready.get("status") == "False" and "deletionTimestamp" not in pod["metadata"]:
        return f"is not ready: {ready.get('message') or ready.get('reason') or 'no reason given'}"
    return None


async def _run(cluster: Cluster, namespace: str, status: Mapping[str, Any]) -> Manifest | None:
    """Return the record of the run that is under way; nobody asks for that of one that is over."""
    if "runRef" not in status or status.get("phase") in RESTING:
        return None
    return await cluster.get(API_VERSION, RUN_KIND, namespace, status["runRef"])


async def _records(
    cluster: Cluster, names: Names, target: Target | None, status: Mapping[str, Any]
) -> tuple[Record, ...]:
    """Return the records of the target, by whatever experiment, oldest first.

    Experiments come and go, records stay. They are looked up when a run may begin, and only then.
    """
    resting = status.get("phase") in RESTING
    if target is None or not resting or target.revision == status.get("champion"):
        return ()
    runs = await cluster.list(
        API_VERSION, RUN_KIND, names.namespace, f"{TARGET_LABEL}={names.target}"
    )
    return tuple(sorted(map(_record, runs), key=lambda it: (it.started_at, it.name)))


def _record(run: Manifest) -> Record:
    spec = run["spec"]
    earlier = {each["revision"]: each["runs"] for each in spec.get("attempts", [])}
    return Record(
        name=run["metadata"]["name"],
        started_at=spec["startedAt"],
        finished="outcome" in run.get("status", {}),
        attempts={**earlier, spec["challenger"]: spec["attempt"] + 1},
    )


async def _problem(
    cluster: Cluster,
    names: Names,
    spec: ShadowExperimentSpec,
    *,
    uid: str,
    deployment: Manifest | None,
    service: Manifest | None,
    challenger: Manifest | None,
) -> str | None:
    """Say why spec and cluster do not fit, and what to do about it."""
    if deployment is None:
        return f"Deployment {names.target} is not there: create it, or delete this experiment"
    if (other := _other_experiment(names, deployment)) and await cluster.get(
        API_VERSION, KIND, names.namespace, other
    ):
        return f"Deployment {names.target} is already under experiment {other}: delete one of both"
    if challenger is not None and not owned(challenger, uid):
        return (
            f"Deployment {names.challenger} exists and is not this experiment's: "
            "rename or delete it, since the challenger is called so"
        )
    if service is None:
        return f"Service {spec.service} is not there: create it, or mend spec.traffic.service"
    selects = service["spec"].get("selector") or {}
    labels = deployment["spec"]["template"]["metadata"].get("labels", {})
    if not selects or any(labels.get(key) != value for key, value in selects.items()):
        return (
            f"Service {spec.service} does not select the pods of Deployment {names.target}: "
            "mend its selector, or spec.traffic.service"
        )
    return None


def _other_experiment(names: Names, deployment: Manifest) -> str | None:
    label = deployment["metadata"].get("labels", {}).get(EXPERIMENT_LABEL)
    return None if label == names.experiment else label


def _target(
    names: Names, live: Manifest, sets: Sequence[Manifest], pods: Sequence[Manifest]
) -> Target:
    metadata, spec, status = live["metadata"], live["spec"], live.get("status", {})
    replicas = spec.get("replicas", 1)
    current = status.get("observedGeneration", 0) >= metadata["generation"]
    main = max(sets, key=lambda rs: rs.get("status", {}).get("replicas", 0), default=None)
    return Target(
        resource_version=metadata["resourceVersion"],
        template=Template(
            revision=revision(spec["template"]),
            pods=spec["template"],
            min_ready_seconds=spec.get("minReadySeconds", 0),
            progress_deadline_seconds=spec.get(
                "progressDeadlineSeconds", DEFAULT_PROGRESS_DEADLINE_SECONDS
            ),
        ),
        replicas=replicas,
        ready=status.get("readyReplicas", 0),
        paused=spec.get("paused", False),
        held=spec.get("paused", False) and HELD_ANNOTATION in metadata.get("annotations", {}),
        labelled=metadata.get("labels", {}).get(EXPERIMENT_LABEL) == names.experiment,
        rolled_out=current
        and status.get("updatedReplicas", 0) == replicas
        and status.get("replicas", 0) == replicas
        and status.get("availableReplicas", 0) == replicas,
        serving=None if main is None else revision(main["spec"]["template"]),
        trouble=first_trouble(pods, _unready),
    )


def _challenger(live: Manifest | None, uid: str) -> Challenger | None:
    """Return the challenger; a Deployment of that name that is somebody else's is none."""
    if live is None or not owned(live, uid):
        return None
    return Challenger(
        live["metadata"].get("annotations", {}).get(REVISION_ANNOTATION),
        live["spec"].get("replicas", 1),
    )


def _ready_for(deployment: Manifest | None) -> timedelta:
    asked = 0 if deployment is None else deployment["spec"].get("minReadySeconds", 0)
    return timedelta(seconds=max(asked, LEAST_READY_SECONDS))


def _counts(pod: Manifest, ready_for: timedelta, now: datetime) -> bool:
    """Whether a challenger pod has been ready for long enough; a restart makes it unready."""
    ready = condition(pod, "Ready")
    if ready.get("status") != "True" or "deletionTimestamp" in pod["metadata"]:
        return False
    since = datetime.fromisoformat(ready["lastTransitionTime"])
    return now - max(since, _started(pod, since)) >= ready_for


def _started(pod: Manifest, otherwise: datetime) -> datetime:
    """Return the newest start of one of the pod's containers."""
    starts = [
        datetime.fromisoformat(running["startedAt"])
        for container in pod.get("status", {}).get("containerStatuses", [])
        if (running := container.get("state", {}).get("running"))
    ]
    return max(starts, default=otherwise)


def _arm(pods: Iterable[Manifest]) -> list[Pod]:
    """Return the pods that can be asked for their metrics."""
    return [
        Pod(
            uid=pod["metadata"]["uid"],
            name=pod["metadata"]["name"],
            ip=pod["status"]["podIP"],
            started_at=_started(
                pod, datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
            ).timestamp(),
            restarts=sum(
                container["restartCount"]
                for container in pod["status"].get("containerStatuses", [])
            ),
            ready=condition(pod, "Ready").get("status") == "True",
            ledger=(pod["metadata"].get("annotations") or {}).get(LEDGER_ANNOTATION),
            relay_port=relay_port(pod),
        )
        for pod in pods
        if pod.get("status", {}).get("podIP") and "deletionTimestamp" not in pod["metadata"]
    ]


def relay_port(pod: Manifest) -> int | None:
    """Return where the relay that was injected into the pod shows its metrics."""
    ports = [
        port["containerPort"]
        for container in pod["spec"].get("initContainers") or []
        if container["name"] == CONTAINER
        for port in container.get("ports", [])
        if port.get("name") == METRICS_PORT
    ]
    return int(ports[0]) if ports else None


def owned(live: Manifest, uid: str) -> bool:
    """Whether the object is controlled by the one with that uid."""
    return any(
        owner.get("controller") and owner["uid"] == uid
        for owner in live["metadata"].get("ownerReferences", [])
    )
