"""A ledger in a namespace of a real cluster, customers who spend, and what became of it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.namespace import Json, Namespace

SPEND: Final = Path(__file__).resolve().parents[1] / "e2e" / "files" / "spend.py"
IMAGE: Final = "localhost/shieldx:dev"
DSN: Final = "/run/secrets/shieldx/dsn"
SCOPES: Final = ["read", "write", "issue", "admin"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What customers saw: answers for good, what they had to retry, accounts that are wrong."""

    paid: int
    problems: dict[str, int]
    slowest: float
    wrong: dict[str, Any]


class Bank:
    """The CreditLedger `credits` of one namespace."""

    def __init__(self, world: Namespace) -> None:
        self.world = world

    def ledger(self, **spec: Any) -> Json:
        caller = {"namespace": self.world.name, "name": "customers", "scopes": SCOPES}
        return {
            "apiVersion": "shieldx.io/v1alpha1",
            "kind": "CreditLedger",
            "metadata": {"name": "credits"},
            "spec": {
                "shards": [{"name": "s0", "managed": {"storage": "1Gi"}}],
                "api": {"auth": {"serviceAccounts": [caller]}},
                **spec,
            },
        }

    def open(self, **spec: Any) -> None:
        """Create the ledger and wait until it answers with all replicas."""
        self.world.apply(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "customers"},
            },
            self.ledger(**spec),
        )
        self.world.wait("the ledger answers", self.settled, seconds=240)

    def settled(self) -> bool:
        return (
            self.claim("Ready")[0] == "True"
            and self.claim("Reconciling")[0] == "False"
            and self.observed()
        )

    def observed(self) -> bool:
        live = self.world.get("creditledger", "credits") or {}
        asked: int = live.get("metadata", {}).get("generation", -1)
        seen: int = live.get("status", {}).get("observedGeneration", -2)
        return asked == seen

    def claim(self, kind: str) -> tuple[str, str, str]:
        return self.world.condition("creditledger", "credits", kind)

    def start_spending(
        self,
        name: str,
        seconds: float,
        *,
        attempt_seconds: float = 3,
        node: str | None = None,
        keep_alive: bool = False,
    ) -> None:
        """Start customers in a pod, and return when they have begun.

        After `attempt_seconds` without an answer they try again, by the same key.
        """
        files = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "spend"},
            "data": {"spend.py": SPEND.read_text()},
        }
        environment = {
            "LEDGER_URL": f"http://credits-api.{self.world.name}.svc:5004",
            "SECONDS": str(seconds),
            "ATTEMPT_SECONDS": str(attempt_seconds),
            "KEEP_ALIVE": "yes" if keep_alive else "no",
        }
        self.world.apply(files, pod(name, "customers", environment, node))
        self.world.wait(
            "customers spend", lambda: "spending" in self.world.kubectl("logs", name), seconds=90
        )

    def spent(self, name: str, seconds: float) -> Spent:
        """Wait until the customers are done, and return what they saw."""
        until = time.monotonic() + seconds
        phase = ""
        while phase not in {"Succeeded", "Failed"} and time.monotonic() < until:
            time.sleep(1)
            phase = (self.world.get("pod", name) or {}).get("status", {}).get("phase", "")
        said = self.world.kubectl("logs", name)
        assert phase == "Succeeded", f"customers ended {phase or 'not'}: {said}"
        return Spent(**json.loads(said.splitlines()[-1]))

    def in_api(self, program: str) -> str:
        """Run a Python program inside an API pod."""
        return self.world.kubectl("exec", "deployment/credits-api", "--", "python3", "-c", program)

    def verify(self) -> str:
        """Re-derive chain and balances inside an API pod; fails if they are not clean."""
        return self.world.kubectl(
            "exec",
            "deployment/credits-api",
            "--",
            "shieldx",
            "ledger",
            "verify",
            f"--dsn-file={DSN}",
        )

    def pods(self, component: str) -> list[Json]:
        labels = f"shieldx.io/ledger=credits,app.kubernetes.io/component={component}"
        told = self.world.kubectl("get", "pods", f"--selector={labels}", "--output=json")
        return list(json.loads(told)["items"])


def pod(name: str, account: str, environment: dict[str, str], node: str | None = None) -> Json:
    """Return a pod that runs `spend.py` once, with a token for the ledger."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            **({"nodeName": node} if node else {}),
            "containers": [
                {
                    "name": "spend",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "/spend/spend.py"],
                    "env": [{"name": key, "value": value} for key, value in environment.items()],
                    "volumeMounts": [
                        {"name": "spend", "mountPath": "/spend"},
                        {"name": "token", "mountPath": "/run/secrets/shieldx"},
                    ],
                }
            ],
            "volumes": [
                {"name": "spend", "configMap": {"name": "spend"}},
                {
                    "name": "token",
                    "projected": {
                        "sources": [
                            {
                                "serviceAccountToken": {
                                    "path": "token",
                                    "audience": "shieldx",
                                    "expirationSeconds": 3600,
                                }
                            }
                        ]
                    },
                },
            ],
        },
    }
