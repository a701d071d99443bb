"""What the parts of a ledger are called, and the labels that find them."""

from dataclasses import dataclass
from typing import Final

LEDGER_LABEL: Final = "shieldx.io/ledger"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "shieldx"}
# What a ledger's API and keeper may do in the cluster: ask whose token a caller's is.
API_CLUSTER_ROLE: Final = "shieldx-ledger-api"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one ledger's parts."""

    namespace: str
    ledger: str

    @property
    def api(self) -> str:
        return f"{self.ledger}-api"

    @property
    def keeper(self) -> str:
        return f"{self.ledger}-keeper"

    @property
    def token_review_binding(self) -> str:
        return f"shieldx:ledger:{self.namespace}:{self.ledger}"

    @property
    def api_url(self) -> str:
        return f"http://{self.api}.{self.namespace}.svc:5004"

    @property
    def keeper_url(self) -> str:
        return f"http://{self.keeper}.{self.namespace}.svc:5004"

    def shard(self, shard: str) -> str:
        return f"{self.ledger}-{shard}"

    def secret(self, shard: str) -> str:
        return f"{self.shard(shard)}-postgres"

    @property
    def receipt_keys(self) -> str:
        return f"{self.ledger}-receipt-keys"

    def volume_claim(self, shard: str) -> str:
        return f"data-{self.shard(shard)}-0"

    def selector(self, component: str) -> dict[str, str]:
        """The labels that find the pods of one component, and nothing else."""
        return {LEDGER_LABEL: self.ledger, COMPONENT_LABEL: component}

    def labels(self, component: str) -> dict[str, str]:
        """The labels of every object of one component."""
        return {
            "app.kubernetes.io/name": "shieldx-ledger",
            "app.kubernetes.io/instance": self.ledger,
            **MANAGED_BY,
            **self.selector(component),
        }
