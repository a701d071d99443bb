"""What is counted of the one writer and its relays: by whom writes are decided, and since when."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shieldx.ledger.routing import Role
from shieldx.ledger.writer import Writer
from shieldx.sidecar.internal import Internal


def writer_metrics(writer: Writer, internal: Internal) -> Iterable[Metric]:
    """Yield one process's role, what it relayed and decided for others, silences, takeovers."""
    role = GaugeMetricFamily(
        "shieldx_ledger_role",
        "1 for what this process is to its shard: its writer, a relay to it, or on its own "
        "because the writer is unknown or silent.",
        labels=("role",),
    )
    for one in Role:
        role.add_metric((one.value,), int(one is writer.role))
    yield role
    yield CounterMetricFamily(
        "shieldx_ledger_relayed_operations",
        "Operations that came to this process and were settled as a relay.",
        writer.relayed,
    )
    yield CounterMetricFamily(
        "shieldx_ledger_forwarded_operations",
        "Operations that other processes sent to this one as the writer.",
        internal.forwarded,
    )
    yield CounterMetricFamily(
        "shieldx_ledger_silences",
        "Calls that the writer did not answer in time, and that were decided here.",
        writer.silences,
    )
    yield CounterMetricFamily(
        "shieldx_ledger_takeovers",
        "How often this process became the shard's writer.",
        writer.leadership.takeovers,
    )
