"""What kopf calls. No decisions here: a handler rings a bell, or runs the one loop."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf

from controllers.loop import reconcile_forever
from controllers.shadowexperiment.act import act
from controllers.shadowexperiment.act import release as release_target
from controllers.shadowexperiment.evidence import Evidence
from controllers.shadowexperiment.facts import Situation
from controllers.shadowexperiment.manifests import Names
from controllers.shadowexperiment.observe import observe
from controllers.shadowexperiment.plan import Plan, plan
from controllers.shadowexperiment.progress import Progress
from controllers.shadowexperiment.status import status
from shieldx.kube import Cluster, ConflictError
from shieldx.resources.shadowexperiment import (
    API_VERSION,
    CHALLENGER_LABEL,
    EXPERIMENT_LABEL,
    ShadowExperimentSpec,
)
from shieldx.resources.shadowexperiment import KIND as RESOURCE_KIND
from shieldx.signals.pods import PodsSource

KIND: Final = "shadowexperiments.shieldx.io"
GONE: Final = timedelta(hours=1)
AGAIN: Final = timedelta(milliseconds=200)


def being_deleted(meta: kopf.Meta, **_: Any) -> bool:
    return "deletionTimestamp" in meta


@kopf.on.event(KIND)
async def changed(
    namespace: str | None, name: str, meta: kopf.Meta, memo: kopf.Memo, **_: Any
) -> None:
    """Ring for what people change; what the operator itself wrote into status rings nothing."""
    asked = meta.get("generation"), dict(meta.annotations), meta.get("deletionTimestamp")
    if memo.get("asked") != asked:
        memo.asked = asked
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
    key, trial = ("experiment", namespace, name), Trial(memo)

    async def once() -> timedelta:
        try:
            return await trial.once(str(namespace), name, body)
        except ConflictError:
            return AGAIN  # It has changed since it was read: look again, decide again.

    with memo.bells.listening(key) as bell:
        await reconcile_forever(
            once, stopped=stopped, bell=bell, lock=memo.locks.of(key), work=memo.work
        )


class Trial:
    """One experiment's passes, and what this process has measured of it."""

    def __init__(self, memo: kopf.Memo) -> None:
        self._cluster: Cluster = memo.cluster
        self._memo = memo
        self._started = datetime.now(UTC)
        self._evidence: Evidence | None = None

    async def once(self, namespace: str, name: str, body: kopf.Body) -> timedelta:
        """Look, judge, decide, write; return when to look again."""
        live = await self._cluster.get(API_VERSION, RESOURCE_KIND, namespace, name)
        if live is None or "deletionTimestamp" in live["metadata"]:
            return GONE
        spec = ShadowExperimentSpec.parse(live["spec"])
        names = Names(namespace, name, spec.target)
        before = Progress.parse(live.get("status", {}))
        evidence = self._evidence_for(spec)
        look = await observe(self._cluster, names, spec, live, datetime.now(UTC))
        now = datetime.now(UTC)
        await evidence.gather(before.phase, look.champion, look.challenger, now)
        judgment = evidence.judge(spec, before, now, started=self._started)
        situation = Situation(names, spec, look.observed, before, judgment, now)
        todo = plan(situation)
        await act(self._cluster, names, look.observed, todo, status(situation, todo))
        _announce(body, before, todo)
        until_scrape = evidence.next_at(datetime.now(UTC)) - datetime.now(UTC)
        return max(min(todo.check_again, until_scrape), timedelta(0))

    def _evidence_for(self, spec: ShadowExperimentSpec) -> Evidence:
        if self._evidence is None or not self._evidence.answers(spec):
            source = PodsSource(self._memo.session, port=spec.metrics_port, path=spec.metrics_path)
            self._evidence = Evidence(spec, source)
        return self._evidence


def _announce(body: kopf.Body, before: Progress, todo: Plan) -> None:
    """Post an event for a transition, and for nothing else."""
    after = todo.progress
    if todo.finding is not None and (after.phase, after.step) != (before.phase, before.step):
        bad = after.phase in {"RollingBack", "RolledBack", "Invalid"}
        kopf.event(
            body,
            type="Warning" if bad else "Normal",
            reason=str(after.phase),
            message=after.decision[:1000],
        )


@kopf.on.delete(KIND, when=being_deleted)
async def release(
    namespace: str | None, name: str, spec: kopf.Spec, body: kopf.Body, memo: kopf.Memo, **_: Any
) -> None:
    key = ("experiment", namespace, name)
    names = Names(str(namespace), name, spec["target"]["name"])
    async with memo.locks.of(key):
        try:
            message = await release_target(memo.cluster, names, dict(body.get("status", {})))
        except ConflictError as conflict:
            raise kopf.TemporaryError(str(conflict), delay=1) from conflict
    memo.locks.forget(key)
    kopf.event(body, type="Normal", reason="Released", message=message)
