"""What kopf calls. No decisions here: a handler rings a bell, or runs the one loop."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf

from controllers.loop import reconcile_forever
from controllers.process import being_deleted, newly_asked
from controllers.shadowexperiment.act import release as release_target
from controllers.shadowexperiment.manifests import Names
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.trial import Trial
from shieldx.kube import ConflictError
from shieldx.resources.shadowexperiment import (
    API_VERSION,
    CHALLENGER_LABEL,
    EXPERIMENT_LABEL,
    ShadowExperimentSpec,
)
from shieldx.resources.shadowexperiment import KIND as RESOURCE_KIND
from shieldx.signals.readings import MetricSource
from shieldx.signals.sources import source_of

KIND: Final = "shadowexperiments.shieldx.io"
AGAIN: Final = timedelta(milliseconds=200)
BAD: Final = frozenset(
    {Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.INCONCLUSIVE, Phase.INVALID},
)
LONGEST_EVENT: Final = 1000


@kopf.on.event(KIND)
async def changed(
    namespace: str | None, name: str, meta: kopf.Meta, memo: kopf.Memo, **_: Any
) -> None:
    """Ring for what people change; what the operator itself wrote into status rings nothing."""
    if newly_asked(meta, memo):
        memo.bells.ring(("experiment", namespace, name))


@kopf.on.event("deployments.apps", labels={EXPERIMENT_LABEL: kopf.PRESENT})
async def target_changed(
    namespace: str | None, labels: kopf.Labels, memo: kopf.Memo, **_: Any
) -> None:
    memo.bells.ring(("experiment", namespace, labels[EXPERIMENT_LABEL]))


@kopf.on.event("deployments.apps", labels={CHALLENGER_LABEL: kopf.PRESENT})
async def challenger_changed(
    namespace: str | None, meta: kopf.Meta, memo: kopf.Memo, **_: Any
) -> None:
    for owner in meta.get("ownerReferences", []):
        if owner["kind"] == RESOURCE_KIND:
            memo.bells.ring(("experiment", namespace, owner["name"]))


@kopf.daemon(KIND, cancellation_timeout=10)
async def reconcile(
    namespace: str | None,
    name: str,
    body: kopf.Body,
    memo: kopf.Memo,
    stopped: kopf.DaemonStopped,
    **_: Any,
) -> None:
    key = ("experiment", namespace, name)

    def source(spec: ShadowExperimentSpec) -> MetricSource:
        return source_of(spec.source, memo.session, memo.prometheuses)

    trial = Trial(memo.cluster, source, lambda: datetime.now(UTC))

    async def once() -> timedelta:
        try:
            done = await trial.once(str(namespace), name)
        except ConflictError:
            return AGAIN  # It has changed since it was read: look again, decide again.
        if done.moved:
            _announce(body, done.after)
        return done.check_again

    with memo.bells.listening(key) as bell:
        await reconcile_forever(
            once,
            stopped=stopped,
            bell=bell,
            lock=memo.locks.of(key),
            work=memo.work,
            prepare=trial.measure,
        )


def _announce(body: kopf.Body, after: Progress) -> None:
    """Post an event: for a transition, and for nothing else."""
    kopf.event(
        body,
        type="Warning" if after.phase in BAD else "Normal",
        reason=str(after.phase),
        message=after.decision[:LONGEST_EVENT],
    )


@kopf.on.delete(KIND, when=being_deleted)
async def release(
    namespace: str | None, name: str, body: kopf.Body, memo: kopf.Memo, **_: Any
) -> None:
    key = ("experiment", namespace, name)
    names = Names(str(namespace), name, body.spec["target"]["name"])
    async with memo.locks.of(key):
        try:
            live = await memo.cluster.get(API_VERSION, RESOURCE_KIND, namespace, name) or dict(body)
            status, uid = live.get("status", {}), live["metadata"]["uid"]
            message = await release_target(memo.cluster, names, uid, status)
        except ConflictError as conflict:
            raise kopf.TemporaryError(str(conflict), delay=1) from conflict
    memo.locks.forget(key)
    kopf.event(body, type="Normal", reason="Released", message=message)
