"""How a pod names the ledger whose relay it has, and how others find that relay in it."""

from typing import Final

LEDGER_ANNOTATION: Final = "shieldx.io/ledger"
CONTAINER: Final = "shieldx-ledger"
# The port with probes and metrics, by name: its number depends on the other containers.
METRICS_PORT: Final = "shieldx-metrics"
