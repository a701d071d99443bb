"""Ledgers as the API server would hand them out, and what an observer may see of them."""

import copy
from datetime import UTC, datetime
from typing import Any, Final

from controllers.creditledger.manifests import Settings
from controllers.creditledger.names import Names
from controllers.creditledger.plan import Observed, Workload
from shieldx.resources.creditledger import CreditLedgerSpec
from tests.support.crds import defaulted, load_crds, schema_of

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES: Final = Names("bank", "credits")
SETTINGS: Final = Settings(
    image="shieldx:1",
    postgres_image="shieldx-postgres:1",
    pull_policy="IfNotPresent",
    operator_account="shieldx-system:shieldx-operator",
)
UP: Final = Workload(wanted=1, ready=1, current=True)
CREDITLEDGER_SCHEMA: Final = schema_of(load_crds()["CreditLedger"])


def ledger(**spec: Any) -> dict[str, Any]:
    """A CreditLedger with the CRD's defaults filled in."""
    written = {"shards": [{"name": "s0", "managed": {}}], **copy.deepcopy(spec)}
    body = {
        "apiVersion": "shieldx.io/v1alpha1",
        "kind": "CreditLedger",
        "metadata": {"namespace": "bank", "name": "credits", "uid": "u-1", "generation": 3},
        "spec": written,
    }
    filled: dict[str, Any] = defaulted(CREDITLEDGER_SCHEMA, body)
    return filled


def spec(**fields: Any) -> CreditLedgerSpec:
    return CreditLedgerSpec.parse(ledger(**fields)["spec"])


def observed(**facts: Any) -> Observed:
    """A ledger that is wholly up, but for `facts`."""
    seen = {
        "generation": 3,
        "uid": "u-1",
        "conditions": [],
        "shards": {"s0": UP},
        "api": Workload(wanted=2, ready=2, current=True),
        "keeper": UP,
        **facts,
    }
    return Observed(**seen)
