"""What kopf calls. No decisions here: a handler rings a bell, or runs the one loop."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import kopf

from controllers.creditledger.act import act
from controllers.creditledger.act import release as release_ledger
from controllers.creditledger.manifests import Settings
from controllers.creditledger.names import LEDGER_LABEL, Names
from controllers.creditledger.observe import observe
from controllers.creditledger.plan import plan
from controllers.loop import reconcile_forever
from shieldx.resources.creditledger import API_VERSION, CreditLedgerSpec
from shieldx.resources.creditledger import KIND as RESOURCE_KIND

KIND: Final = "creditledgers.shieldx.io"
TOKEN_FILE: Final = Path("/run/secrets/shieldx/token")
GONE: Final = timedelta(hours=1)


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
        memo.bells.ring(("ledger", namespace, name))


@kopf.on.event("pods", labels={LEDGER_LABEL: kopf.PRESENT})
@kopf.on.event("deployments.apps", labels={LEDGER_LABEL: kopf.PRESENT})
@kopf.on.event("statefulsets.apps", labels={LEDGER_LABEL: kopf.PRESENT})
@kopf.on.event("services", labels={LEDGER_LABEL: kopf.PRESENT})
@kopf.on.event("configmaps", labels={LEDGER_LABEL: kopf.PRESENT})
@kopf.on.event("networkpolicies.networking.k8s.io", labels={LEDGER_LABEL: kopf.PRESENT})
async def part_changed(
    namespace: str | None, labels: kopf.Labels, memo: kopf.Memo, **_: Any
) -> None:
    memo.bells.ring(("ledger", namespace, labels[LEDGER_LABEL]))


@kopf.daemon(KIND, cancellation_timeout=10)
async def reconcile(
    namespace: str | None, name: str, memo: kopf.Memo, stopped: kopf.DaemonStopped, **_: Any
) -> None:
    names, key = Names(str(namespace), name), ("ledger", namespace, name)
    settings = Settings.from_environment(memo.environment)

    async def once() -> timedelta:
        live = await memo.cluster.get(API_VERSION, RESOURCE_KIND, namespace, name)
        if live is None or being_deleted(live["metadata"]):
            return GONE
        spec = CreditLedgerSpec.parse(live["spec"])
        seen = await observe(memo.cluster, names, spec, live, TOKEN_FILE)
        todo = plan(names, spec, seen, settings, datetime.now(UTC))
        await act(memo.cluster, names, seen.uid, todo)
        return todo.check_again

    with memo.bells.listening(key) as bell:
        await reconcile_forever(
            once, stopped=stopped, bell=bell, lock=memo.locks.of(key), work=memo.work
        )


@kopf.on.delete(KIND, when=being_deleted)
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
