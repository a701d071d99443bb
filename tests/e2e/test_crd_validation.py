"""Every rule of the definitions, broken once before a real API server: it says what to do.

A rule without a case here fails, and so does a case whose rule is gone.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import yaml

from tests.support.cluster import Cluster
from tests.support.cluster.errors import ClusterError
from tests.support.crds import CRDS, load_crds, nodes, schema_of
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

type Json = dict[str, Any]

MINIMAL: Final = {
    kind: yaml.safe_load((CRDS / "examples" / file).read_text())
    for kind, file in {
        "CreditLedger": "creditledger-minimal.yaml",
        "ShadowExperiment": "shadowexperiment-minimal.yaml",
        "ExperimentRun": "experimentrun.yaml",
    }.items()
}
# Nobody shall act on what is created here.
MINIMAL["CreditLedger"]["spec"]["paused"] = True
MINIMAL["ShadowExperiment"]["spec"]["paused"] = True


@dataclass(frozen=True)
class Case:
    """A change of the minimal object, and the words that the API server must have for it."""

    kind: str
    path: str
    value: Any
    says: str
    before: Json = field(default_factory=dict)  # changes of the object before, for updates

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.path}-{json.dumps(self.value)}"[:90]


SECRET_REF: Final = {"name": "hook", "key": "secret"}
LEDGER, EXPERIMENT, RUN = "CreditLedger", "ShadowExperiment", "ExperimentRun"
GUARDRAIL = "spec.metrics.guardrails.0"
ERRORS: Final = MINIMAL[EXPERIMENT]["spec"]["metrics"]["guardrails"][0]
BARE: Final = {"name": "latency", "margin": {"relative": "10%"}}
CALLER: Final = {"namespace": "shop", "name": "till", "scopes": ["read"]}

PROMETHEUS: Final = {"url": "http://prometheus.monitoring:9090", "scrapeInterval": "10s"}
SOURCE = "spec.metrics.source"

CREATED: Final = [
    Case(LEDGER, "metadata.name", "c" * 41, "must be at most 40 characters of a-z"),
    Case(LEDGER, "metadata.name", "1st", "must be at most 40 characters of a-z"),
    Case(
        LEDGER,
        "spec.holds",
        {"defaultTimeout": "2h", "maxTimeout": "1h"},
        "defaultTimeout must not be longer than spec.holds.maxTimeout",
    ),
    Case(LEDGER, "spec.api", {"rateLimit": {"burst": 10}}, "give both or neither"),
    Case(LEDGER, "spec.shards.0.name", "api", "must be neither api nor keeper"),
    Case(LEDGER, "spec.holds.defaultTimeout", "15 minutes", "such as 15m or 1h30m"),
    Case(LEDGER, "spec.holds.defaultTimeout", "0s", "a duration of at least 1s"),
    Case(LEDGER, "spec.holds.maxTimeout", "8761h", "a duration from 1s to 8760h"),
    *(
        Case(LEDGER, "spec.events.webhooks", [{"url": url, "secretRef": SECRET_REF}], says)
        for url, says in (
            ("ftp://shop/hook", "must be http:// or https://"),
            ("https://user:word@shop/hook", "no user, password or fragment"),
            ("https://shop/hook#part", "no user, password or fragment"),
            ("https://shop:70000/hook", "perhaps a port"),
            ("http://localhost:8080/", "use the name of a Service"),
            ("http://169.254.169.254/latest", "use the name of a Service"),
        )
    ),
    Case(EXPERIMENT, "metadata.name", "x" * 41, "metadata.name must be at most 40 characters"),
    Case(
        EXPERIMENT,
        "spec.strategy.steps",
        [{"weight": 50, "for": "1m"}, {"weight": 10, "for": "1m"}],
        "ascending weights, each once",
    ),
    Case(EXPERIMENT, "spec.strategy.steps.0.weight", 96, "must be from 1 to 95"),
    Case(EXPERIMENT, "spec.strategy.steps.0.for", "1d", "steps[].for must be a duration"),
    Case(EXPERIMENT, "spec.strategy.warmUp", "2h", "warmUp must be a duration up to 1h"),
    Case(EXPERIMENT, "spec.strategy.requestTimeout", "x", "requestTimeout must be a duration"),
    Case(EXPERIMENT, SOURCE, {}, "must have exactly one of pods"),
    Case(EXPERIMENT, f"{SOURCE}.prometheus", PROMETHEUS, "must have exactly one of pods"),
    *(
        Case(EXPERIMENT, SOURCE, {"prometheus": PROMETHEUS | wrong}, says)
        for wrong, says in (
            ({"url": "ftp://prometheus"}, "must be http:// or https://"),
            ({"url": "http://user:word@prometheus"}, "no user, password, query or fragment"),
            ({"url": "http://prometheus?x=y"}, "no user, password, query or fragment"),
            ({"url": "http://prometheus:70000"}, "perhaps a port"),
            ({"url": "http://localhost:9090"}, "must not point to the operator itself"),
            ({"url": "http://169.254.169.254"}, "must not point to the operator itself"),
            ({"matchLabels": {"a-b": "c"}}, "matchLabels must have names of Prometheus labels"),
            ({"scrapeInterval": "10m"}, "scrapeInterval must be a duration from 1s to 5m"),
            ({"scrapeInterval": "30s"}, "decision.bucket must not be shorter than"),
        )
    ),
    Case(EXPERIMENT, "spec.metrics.guardrails", [ERRORS, ERRORS], "rename one of the doubles"),
    Case(EXPERIMENT, f"{GUARDRAIL}.name", "restarts", "restarts is a guardrail that is always"),
    Case(EXPERIMENT, f"{GUARDRAIL}.bad", "code~5..", "such as code=~"),
    Case(EXPERIMENT, f"{GUARDRAIL}.histogram", "seconds", "exactly one of counter"),
    Case(EXPERIMENT, GUARDRAIL.removesuffix(".0"), [BARE], "exactly one of counter"),
    Case(EXPERIMENT, f"{GUARDRAIL}.ledgerRef", "credits", "exactly one of counter"),
    Case(
        EXPERIMENT,
        GUARDRAIL.removesuffix(".0"),
        [{**BARE, "ledgerRef": "credits"}],
        "ledgerRef and refusals belong",
    ),
    Case(EXPERIMENT, f"{GUARDRAIL}.quantile", "0.95", "histogram and quantile belong together"),
    *(
        Case(EXPERIMENT, GUARDRAIL.removesuffix(".0"), [BARE | wrong], says)
        for wrong, says in (
            ({"counter": "requests_total"}, "needs bad (which of its series are bad"),
            ({"histogram": "seconds", "quantile": "0.9", "of": "all"}, "goes without counter"),
            ({"counter": "failed_total", "of": "failed_total"}, "must be another counter"),
            ({"histogram": "seconds"}, "histogram and quantile belong together"),
            ({"histogram": "seconds", "quantile": "0.4"}, "quantile must be from 0.5 to 0.9999"),
            ({"histogram": "seconds", "quantile": "p95"}, "quantile must be from 0.5 to 0.9999"),
        )
    ),
    Case(EXPERIMENT, f"{GUARDRAIL}.margin", {}, "must say exactly one of absolute"),
    Case(EXPERIMENT, f"{GUARDRAIL}.margin", {"absolute": "51%"}, "above 0% and up to 50%"),
    Case(EXPERIMENT, f"{GUARDRAIL}.margin", {"relative": "0%"}, "above 0% and up to 1000%"),
    Case(EXPERIMENT, f"{GUARDRAIL}.tolerance", "much", "tolerance must be a percentage"),
    Case(EXPERIMENT, f"{GUARDRAIL}.baseRate", "100%", "above 0% and below 100%"),
    Case(EXPERIMENT, "spec.decision.rollbackRisk", "21%", "rollbackRisk must be a percentage"),
    Case(EXPERIMENT, "spec.decision.promotionRisk", "0%", "promotionRisk must be a percentage"),
    Case(EXPERIMENT, "spec.decision.bucket", "11m", "bucket must be a duration from 1s to 10m"),
    Case(EXPERIMENT, "spec.decision.minDuration", "0s", "minDuration must be a duration from"),
    Case(EXPERIMENT, "spec.decision.maxDuration", "1y", "maxDuration must be a duration from"),
    Case(EXPERIMENT, "spec.decision.noDataAfter", "0s", "noDataAfter must be a duration from"),
    Case(
        EXPERIMENT,
        "spec.decision",
        {"minDuration": "2h", "maxDuration": "1h"},
        "minDuration must not be longer than spec.decision.maxDuration",
    ),
    Case(
        EXPERIMENT,
        "spec.decision",
        {"noData": "rollback", "noDataAfter": "29s", "bucket": "10s"},
        "noDataAfter must be at least three times spec.decision.bucket",
    ),
]
CHANGED: Final = [
    Case(LEDGER, "spec.asset", {"code": "EUR"}, "create another ledger for another asset"),
    Case(
        LEDGER,
        "spec.shards",
        [{"name": "s1", "managed": {}}],
        "put the old entry of spec.shards back",
    ),
    Case(
        LEDGER,
        "spec.shards",
        [{"name": "s0", "managed": {"storage": "20Gi"}}],
        "grow the PersistentVolumeClaim itself",
    ),
    Case(
        LEDGER,
        "spec.shards",
        [{"name": "s0", "managed": {"storageClassName": "slow"}}],
        "the volume exists already",
        before={"spec.shards": [{"name": "s0", "managed": {"storageClassName": "fast"}}]},
    ),
    Case(EXPERIMENT, "spec.target", {"name": "other"}, "delete this experiment, which lets go"),
    Case(RUN, "spec.target", "other", "change the ShadowExperiment, which begins another run"),
]
RECORDED: Final = Case(
    RUN, "status.outcome", "Promoted", "a finished ExperimentRun is a record and cannot be changed"
)
# What the schema itself refuses, in Kubernetes' own words.
SHAPES: Final = [
    Case(LEDGER, "spec.shards", [], "should have at least 1 items"),
    Case(LEDGER, "spec.shards", [{"name": "s0"}], "spec.shards[0].managed: Required value"),
    Case(LEDGER, "spec.api.replicas", 0, "spec.api.replicas in body should be greater than"),
    Case(
        LEDGER,
        "spec.api",
        {"auth": {"apiKeysSecretRef": {}}},
        "spec.api.auth.apiKeysSecretRef.name: Required value",
    ),
    Case(
        LEDGER,
        "spec.api",
        {"auth": {"serviceAccounts": [{**CALLER, "accounts": ["/shop"]}]}},
        "spec.api.auth.serviceAccounts[0].accounts[0] in body should match",
    ),
    Case(LEDGER, "spec.deletionPolicy", "Keep", 'supported values: "Retain", "Delete"'),
    Case(LEDGER, "spec.backup", {}, 'unknown field "spec.backup"'),
    Case(EXPERIMENT, "spec.target.kind", "Job", "spec.target.kind: Unsupported value"),
    Case(EXPERIMENT, "spec.decision.onDeadline", "promote", 'supported values: "hold", "rollback"'),
    Case(EXPERIMENT, "spec.decision.noData", "promote", 'supported values: "wait", "rollback"'),
    Case(EXPERIMENT, "spec.strategy.shadow", {}, 'unknown field "spec.strategy.shadow"'),
]


def rules() -> Iterator[tuple[str, str]]:
    """Yield kind and message of every rule of the definitions."""
    for kind, crd in load_crds().items():
        for _, node in nodes(schema_of(crd)):
            for rule in node.get("x-kubernetes-validations", []):
                yield kind, rule["message"]


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[Namespace]:
    with Namespace.made(cluster, "e2e-crd-validation") as made:
        yield made


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    cases = [*CREATED, *CHANGED, RECORDED]

    untold = [
        message
        for kind, message in rules()
        if not any(case.kind == kind and case.says in message for case in cases)
    ]
    stale = [
        case.name
        for case in cases
        if not any(case.kind == kind and case.says in message for kind, message in rules())
    ]

    assert (untold, stale) == ([], [])


@pytest.mark.parametrize("case", [*CREATED, *SHAPES], ids=lambda case: case.name)
def test_what_cannot_be_is_refused(case: Case, world: Namespace) -> None:
    with pytest.raises(ClusterError) as refused:
        create(world, changed(MINIMAL[case.kind], case.path, case.value), dry=True)

    assert case.says in str(refused.value)


@pytest.mark.parametrize("case", CHANGED, ids=lambda case: case.name)
def test_what_must_stay_is_kept(case: Case, world: Namespace) -> None:
    before = MINIMAL[case.kind]
    for path, value in case.before.items():
        before = changed(before, path, value)
    before = changed(before, "metadata.name", f"case-{CHANGED.index(case)}")
    create(world, before)

    with pytest.raises(ClusterError) as refused:
        patch(world, before, case.path, case.value)

    assert case.says in str(refused.value)


def test_a_finished_run_is_a_record(world: Namespace) -> None:
    run = MINIMAL[RUN]
    create(world, run)
    patch(world, run, "status", run["status"], "--subresource=status")

    with pytest.raises(ClusterError) as refused:
        patch(world, run, RECORDED.path, RECORDED.value, "--subresource=status")

    assert RECORDED.says in str(refused.value)


@pytest.mark.parametrize("kind", MINIMAL)
def test_the_minimal_object_is_taken(kind: str, world: Namespace) -> None:
    create(world, changed(MINIMAL[kind], "metadata.name", "minimal"), dry=True)


def create(world: Namespace, manifest: Json, *, dry: bool = False) -> None:
    world.kubectl(
        "create",
        f"--dry-run={'server' if dry else 'none'}",
        "--filename=-",
        stdin=json.dumps(manifest),
    )


def patch(world: Namespace, manifest: Json, path: str, value: Any, *options: str) -> None:
    body = changed({}, path, value)
    world.kubectl(
        "patch",
        manifest["kind"].lower(),
        manifest["metadata"]["name"],
        "--type=merge",
        f"--patch={json.dumps(body)}",
        *options,
    )


def changed(manifest: Json, path: str, value: Any) -> Json:
    """Return a copy in which the field at a dotted path (a number is an index) has a value."""
    copied = copy.deepcopy(manifest)
    *way, last = path.split(".")
    inner: Any = copied
    for part in way:
        inner = inner[int(part)] if isinstance(inner, list) else inner.setdefault(part, {})
    inner[last] = value
    return copied
