"""What kopf calls. No decisions here: a handler rings a bell, or runs the one loop."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import kopf

from controllers.creditledger.act import NameTakenError, act, write_status
from controllers.creditledger.act import release as release_ledger
from controllers.creditledger.manifests import Settings
from controllers.creditledger.names import LEDGER_LABEL, Names
from controllers.creditledger.observe import observe
from controllers.creditledger.plan import news, plan
from controllers.loop import reconcile_forever
from controllers.process import being_deleted, newly_asked
from shieldx.resources.creditledger import API_VERSION, CreditLedgerSpec
from shieldx.resources.creditledger import KIND as RESOURCE_KIND

KIND: Final = "creditledgers.shieldx.io"
TOKEN_FILE: Final = Path("/run/secrets/shieldx/token")
GONE: Final = timedelta(hours=1)
RETRY_SECONDS: Final = 5


@kopf.on.startup()
async def read_settings(memo: kopf.Memo, **_: Any) -> None:
    memo.ledgers = Settings.from_environment(os.environ)


@kopf.on.event(KIND)
async def changed(
    namespace: str | None, name: str, meta: kopf.Meta, memo: kopf.Memo, **_: Any
) -> None:
    """Ring for what people change; what the operator itself wrote into status rings nothing."""
    if newly_asked(meta, memo):
        memo.bells.ring(("ledger", namespace, name))


@kopf.on.event("deployments.apps", labels={LEDGER_LABEL: kopf.PRESENT})
@kopf.on.event("statefulsets.apps", labels={LEDGER_LABEL: kopf.PRESENT})
@kopf.on.event("services", labels={LEDGER_LABEL: kopf.PRESENT})
@kopf.on.event("networkpolicies.networking.k8s.io", labels={LEDGER_LABEL: kopf.PRESENT})
async def part_changed(
    namespace: str | None, labels: kopf.Labels, memo: kopf.Memo, **_: Any
) -> None:
    """Ring when a part is ready, not ready, or tampered with; pods tell through their owners."""
    memo.bells.ring(("ledger", namespace, labels[LEDGER_LABEL]))


@kopf.daemon(KIND, cancellation_timeout=10)
async def reconcile(
    namespace: str | None, name: str, memo: kopf.Memo, stopped: kopf.DaemonStopped, **_: Any
) -> None:
    names, key = Names(str(namespace), name), ("ledger", namespace, name)

    async def once() -> timedelta:
        live = await memo.cluster.get(API_VERSION, RESOURCE_KIND, namespace, name)
        if live is None or being_deleted(live["metadata"]):
            return GONE
        spec = CreditLedgerSpec.parse(live["spec"])
        seen = await observe(memo.cluster, names, spec, live, TOKEN_FILE)
        todo = plan(names, spec, seen, memo.ledgers, datetime.now(UTC))
        try:
            await act(memo.cluster, names, seen.uid, todo)
        except NameTakenError as taken:
            seen = replace(seen, taken=str(taken))
            todo = plan(names, spec, seen, memo.ledgers, datetime.now(UTC))
            await write_status(memo.cluster, names, todo)
        if told := news(seen.conditions, todo.status):
            kind = "Warning" if told.warning else "Normal"
            kopf.event(live, type=kind, reason=told.reason, message=told.message)
        return todo.check_again

    with memo.bells.listening(key) as bell:
        await reconcile_forever(
            once, stopped=stopped, bell=bell, lock=memo.locks.of(key), work=memo.work
        )


@kopf.on.delete(KIND, when=being_deleted, backoff=RETRY_SECONDS)
async def release(
    namespace: str | None, name: str, spec: kopf.Spec, body: kopf.Body, memo: kopf.Memo, **_: Any
) -> None:
    key = ("ledger", namespace, name)
    async with memo.locks.of(key):
        message = await release_ledger(
            memo.cluster, Names(str(namespace), name), CreditLedgerSpec.parse(spec)
        )
    memo.locks.forget(key)
    kopf.event(body, type="Normal", reason="Released", message=message)
