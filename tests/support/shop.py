"""The shop of `charts/demo` on a cluster: installed, released, asked and removed.

`make demo` tells its story with it, and the tests of `tests/e2e` prove theirs.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import helm_python

from tests.support.charts import ROOT
from tests.support.cluster import Cluster

CHART: Final = ROOT / "charts" / "demo"
IMAGE: Final = {"repository": "localhost/shieldx", "tag": "dev", "pullPolicy": "IfNotPresent"}
RELEASE: Final = "demo"
POLL_SECONDS: Final = 1.0
VERIFY: Final = "shieldx ledger verify --dsn-file /run/secrets/shieldx/dsn"

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a customer saw: status 0 stands for no answer, and the reason says why."""

    status: int
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the orders."""

    sent: int
    outcomes: Mapping[Outcome, int]

    @classmethod
    def parse(cls, text: str) -> "Counts":
        """Read what the customers answer to `/counts` and `/stop`."""
        told = json.loads(text)
        return cls(
            sent=told["sent"],
            outcomes={
                Outcome(o["status"], o["version"], o["reason"]): o["count"]
                for o in told["outcomes"]
            },
        )

    @property
    def paid(self) -> int:
        return sum(count for outcome, count in self.outcomes.items() if outcome.status == 200)


@dataclass(frozen=True, slots=True)
class Verification:
    """What `shieldx ledger verify` said inside the API pod."""

    exit_code: int
    said: str


class Shop:
    """One installation of the demo's chart."""

    def __init__(self, cluster: Cluster, namespace: str = "shop") -> None:
        self._cluster = cluster
        self.namespace = namespace

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the shop's namespace."""
        return self._cluster.kubectl(f"--namespace={self.namespace}", *arguments, input=stdin)

    def install(self, values: Json | None = None) -> None:
        """Install the chart; nothing is waited for."""
        kubeconfig = str(self._cluster.kubeconfig)
        with helm_python.Config(kubeconfig_path=kubeconfig, namespace=self.namespace) as helm:
            helm.install(
                str(CHART), RELEASE, {"image": IMAGE, **(values or {})}, create_namespace=True
            )

    def remove(self) -> None:
        """Remove the namespace with everything in it, if there is one."""
        self._cluster.kubectl("delete", "namespace", self.namespace, "--ignore-not-found")

    def wait_for_ledger(self) -> None:
        """Return when the ledger serves."""
        self.kubectl("wait", "creditledger/credits", "--for=condition=Ready", "--timeout=240s")

    def wait_for_orders(self) -> None:
        """Return when the shop serves and customers buy."""
        self.kubectl("rollout", "status", "deployment/shop", "--timeout=120s")
        self.kubectl("wait", "pod/load", "--for=condition=Ready", "--timeout=180s")

    def release(self, version: str, error_rate: float) -> str:
        """Change the pod template as a new version does; return the command that did it."""
        change = (f"VERSION={version}", f"ERROR_RATE={error_rate}")
        self.kubectl("set", "env", "deployment/shop", *change)
        return f"kubectl set env deployment/shop {' '.join(change)}"

    def experiment(self) -> Json:
        """Return the status of the shop's experiment."""
        found: Json = json.loads(self.kubectl("get", "shadowexperiment/shop", "--output=json"))
        status: Json = found.get("status", {})
        return status

    def watch(self, seconds: float) -> Iterator[Json]:
        """Yield the experiment's status each time that it is another; stop after so long."""
        last: Json | None = None
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            status = self.experiment()
            if status != last:
                yield status
            last = status
            time.sleep(POLL_SECONDS)

    def counts(self) -> Counts:
        """Return what became of the orders so far."""
        return Counts.parse(self.kubectl("get", "--raw", f"{self._load}/counts"))

    def stop_load(self) -> Counts:
        """Let the customers go home; return the final counts."""
        stop = ("create", "--raw", f"{self._load}/stop", "--filename=-")
        return Counts.parse(self.kubectl(*stop, stdin="{}"))

    def consumed(self) -> int:
        """Return the credits spent, by the ledger's own balances."""
        teller = ("python3", "/demo/teller.py", "consumed")
        told = json.loads(self.kubectl("exec", "pod/load", "--container=load", "--", *teller))
        spent: int = told["consumed"]
        return spent

    def verify(self) -> Verification:
        """Let the ledger's API pod re-derive the books."""
        script = f"{VERIFY} 2>&1; echo $?"
        said = self.kubectl("exec", "deployment/credits-api", "--", "sh", "-c", script)
        *lines, code = said.strip().splitlines()
        return Verification(exit_code=int(code), said=" ".join(lines))

    @property
    def _load(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/load:8080/proxy"
