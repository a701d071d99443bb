"""Carry out a plan, or let a target go. Every write may be the last: each can be repeated."""

from controllers.shadowexperiment import manifests
from controllers.shadowexperiment.facts import (
    Action,
    ApplyChallenger,
    CreateRun,
    DeleteChallenger,
    DeleteRun,
    FinishRun,
    LabelTarget,
    Observed,
    RecordEvidence,
    ResumeTarget,
)
from controllers.shadowexperiment.manifests import Manifest, Names
from controllers.shadowexperiment.observe import DEPLOYMENT, owned
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.plan import Plan
from controllers.shadowexperiment.progress import Outcome, Progress, recorded
from controllers.shadowexperiment.status import changes
from shieldx.kube import Cluster, NamespaceTerminatingError
from shieldx.resources.shadowexperiment import (
    API_VERSION,
    EXPERIMENT_LABEL,
    HELD_ANNOTATION,
    KIND,
    RUN_KIND,
    revision,
)


async def act(cluster: Cluster, names: Names, seen: Observed, todo: Plan, status: Manifest) -> None:
    """Remember first, by compare-and-set, then do; a namespace that ends is left alone.

    ConflictError where somebody changed the experiment, or its target, since it was read.
    """
    if todo.finding is not None and changes(seen.status, status):
        await cluster.patch(
            API_VERSION,
            KIND,
            names.namespace,
            names.experiment,
            {"status": status},
            resource_version=seen.resource_version,
            subresource="status",
        )
    try:
        for action in todo.actions:
            await _perform(cluster, names, action)
    except NamespaceTerminatingError:
        return


async def _perform(cluster: Cluster, names: Names, action: Action) -> None:
    namespace = names.namespace
    match action:
        case LabelTarget(manifest) | ApplyChallenger(manifest):
            await cluster.apply(manifest)
        case DeleteChallenger():
            await cluster.delete(*DEPLOYMENT, namespace, names.challenger)
        case ResumeTarget(resource_version):
            await cluster.patch(
                *DEPLOYMENT,
                namespace,
                names.target,
                manifests.resume_patch(),
                resource_version=resource_version,
            )
        case CreateRun(manifest):
            await cluster.create(manifest)
        case DeleteRun(name):
            await cluster.delete(API_VERSION, RUN_KIND, namespace, name)
        case RecordEvidence(name, trajectory):
            await _write_run(cluster, namespace, name, {"trajectory": trajectory})
        case FinishRun(name, status):
            await _write_run(cluster, namespace, name, status)


async def _write_run(cluster: Cluster, namespace: str, name: str, status: Manifest) -> None:
    await cluster.patch(
        API_VERSION, RUN_KIND, namespace, name, {"status": status}, subresource="status"
    )


async def release(cluster: Cluster, names: Names, uid: str, status: Manifest) -> str:
    """Put things back as without the experiment; return what became of the target.

    What was refused, or is undecided, is never rolled out: its Deployment stays paused.
    """
    challenger = await cluster.get(*DEPLOYMENT, names.namespace, names.challenger)
    if challenger is not None and owned(challenger, uid):
        await cluster.delete(*DEPLOYMENT, names.namespace, names.challenger)
    await _close(cluster, names, status)
    target = await cluster.get(*DEPLOYMENT, names.namespace, names.target)
    if target is None:
        return f"Deployment {names.target} is not there; nothing is left to put back"
    labels = target["metadata"].get("labels", {})
    if labels.get(EXPERIMENT_LABEL) != names.experiment:
        return f"Deployment {names.target} is not under this experiment and was left as it is"
    asked, held = revision(target["spec"]["template"]), _held(target)
    approved = {status.get("champion")}
    if status.get("phase") == Phase.PROMOTING:
        approved.add(status.get("challenger"))
    patch = manifests.unlabel_patch()
    if held and asked in approved:
        patch = _merged(patch, manifests.resume_patch())
    await cluster.patch(
        *DEPLOYMENT,
        names.namespace,
        names.target,
        patch,
        resource_version=target["metadata"]["resourceVersion"],
    )
    if held and asked not in approved:
        return (
            f"Deployment {names.target} stays paused: revision {asked} was not promoted. Roll it "
            f"out with 'kubectl rollout resume deployment/{names.target}', or put the old "
            "template back in git and resume then"
        )
    return f"Deployment {names.target} is as it was without the experiment"


async def _close(cluster: Cluster, names: Names, status: Manifest) -> None:
    """Close the record of a run that the experiment's end cuts short."""
    name = status.get("runRef")
    if name is None:
        return
    run = await cluster.get(API_VERSION, RUN_KIND, names.namespace, name)
    if run is None or "outcome" in run.get("status", {}):
        return
    closed = {
        "outcome": status.get("outcome") or str(Outcome.WITHDRAWN),
        "decision": f"The experiment was deleted. {status.get('decision', '')}".strip(),
        "metrics": status.get("metrics", []),
        "engine": status.get("engine"),
        "trajectory": recorded(run.get("status", {}).get("trajectory", {}), Progress.parse(status)),
    }
    await _write_run(cluster, names.namespace, name, closed)


def _held(target: Manifest) -> bool:
    paused = target["spec"].get("paused", False)
    return paused and HELD_ANNOTATION in target["metadata"].get("annotations", {})


def _merged(one: Manifest, other: Manifest) -> Manifest:
    return {**one, **other, "metadata": {**one["metadata"], **other["metadata"]}}
