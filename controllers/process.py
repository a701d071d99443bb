"""The operator process: kopf's settings, and what handlers share."""

import asyncio
from typing import Any, Final

import kopf

from controllers.loop import Bells, Locks
from shieldx.kube import Cluster
from shieldx.signals.prometheus_server import Prometheuses
from shieldx.signals.sources import open_session

FINALIZER: Final = "shieldx.io/operator"
PREFIX: Final = "operator.shieldx.io"
CONCURRENT_PASSES: Final = 24


def being_deleted(meta: kopf.Meta, **_: Any) -> bool:
    """Whether somebody has asked for the object's end."""
    return "deletionTimestamp" in meta


def newly_asked(meta: kopf.Meta, memo: kopf.Memo) -> bool:
    """Whether people have changed the object, and not just the operator its status."""
    asked = meta.get("generation"), dict(meta.annotations), meta.get("deletionTimestamp")
    if memo.get("asked") == asked:
        return False
    memo.asked = asked
    return True


@kopf.on.startup()
async def open_process(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    settings.persistence.finalizer = FINALIZER
    # These annotations appear on objects that are being deleted only: no handler detects changes.
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX, v1=False)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX, v1=False)
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.watching.chunk_size = 500
    # Kinds of which only our own are of interest are filtered by the API server.
    for kind in ("services", "statefulsets.apps", "networkpolicies.networking.k8s.io"):
        settings.watching.label_selectors[kind] = "app.kubernetes.io/managed-by=shieldx"
    settings.posting.enabled = True
    settings.posting.loggers = False
    settings.scanning.disabled = True
    memo.bells = Bells()
    memo.locks = Locks()
    memo.work = asyncio.Semaphore(CONCURRENT_PASSES)
    memo.cluster = await Cluster.open()
    memo.session = open_session()  # for the metrics of pods under experiment
    memo.prometheuses = Prometheuses(memo.session)


@kopf.on.cleanup()
async def close_process(memo: kopf.Memo, **_: Any) -> None:
    await memo.session.close()
    await memo.cluster.close()
