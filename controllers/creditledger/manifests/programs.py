"""The programs in front of a ledger's Postgres: API and keeper, and what they need."""

import hashlib
import json
from typing import Final

from controllers.creditledger.manifests import api_keys, internal, webhooks
from controllers.creditledger.manifests.owner import (
    API,
    KEEPER,
    POSTGRES,
    POSTGRES_PORT,
    RECEIPT_KEYS_DIR,
    SECRETS_DIR,
    Manifest,
    Owner,
    Settings,
    container_security,
    disruption_budget,
    leaving_lost_nodes,
    pod_security,
)
from controllers.creditledger.names import API_CLUSTER_ROLE, Names
from shieldx.resources.creditledger import CreditLedgerSpec, Rate, SecretKey

API_PORT: Final = 5004
METRICS_PORT: Final = 9090
API_UID: Final = 10001
CONFIG_DIR: Final = "/etc/shieldx"
REDIS_DIR: Final = "/run/secrets/shieldx-redis"
REDIS_PORTS: Final = (6379, 6380)
# A pod that leaves goes on serving until everybody has heard that it does.
PRE_STOP_SECONDS: Final = 5
GRACE_SECONDS: Final = 45


def config_map(owner: Owner, spec: CreditLedgerSpec) -> Manifest:
    """What API and keeper must know of the spec; they notice changes of callers by themselves."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owner.metadata(owner.names.api, API),
        "data": {
            "ledger.json": json.dumps(_configuration(owner.names, spec), indent=1),
            webhooks.FILE: webhooks.listing(spec),
        },
    }


def receipt_keys(owner: Owner, key: str) -> Manifest:
    """Return the first key that entries are sealed with; created once, never applied again.

    It has no owner reference: deleting a ledger by accident must not lose what proves its past.
    Adding a key `k2` rotates: the last one in order seals, the others verify.
    """
    metadata = owner.metadata(owner.names.receipt_keys, API)
    del metadata["ownerReferences"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "stringData": {"k1": key},
    }


def service_account(owner: Owner, name: str, component: str) -> Manifest:
    """The identity with which a component asks the API server about its callers' tokens."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": owner.metadata(name, component),
        "automountServiceAccountToken": False,
    }


def token_review_binding(owner: Owner) -> Manifest:
    """Let API and keeper create TokenReviews, a right of the cluster; removed by the finalizer."""
    names = owner.names
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": names.token_review_binding, "labels": names.labels(API)},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": API_CLUSTER_ROLE,
        },
        "subjects": [
            {"kind": "ServiceAccount", "namespace": names.namespace, "name": name}
            for name in (names.api, names.keeper)
        ],
    }


def http_service(owner: Owner, name: str, component: str) -> Manifest:
    """The address of the API, or of the keeper."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(name, component),
        "spec": {
            "selector": owner.names.selector(component),
            "ports": [{"name": "http", "port": API_PORT, "targetPort": "http"}],
        },
    }


def api_network_policy(owner: Owner, spec: CreditLedgerSpec) -> Manifest:
    """Everybody reaches the API, which asks for tokens; it reaches Redis where there is one.

    Where that is stands in a Secret, which the operator does not read: so its usual ports are open.
    """
    manifest = _network_policy(owner, owner.names.api, API, callers=None)
    manifest["spec"]["ingress"].append(internal.ingress(owner))
    if spec.rate_limit.redis is not None:
        ports = [{"protocol": "TCP", "port": port} for port in REDIS_PORTS]
        manifest["spec"]["egress"].append({"ports": ports})
    return manifest


def keeper_network_policy(owner: Owner, spec: CreditLedgerSpec, settings: Settings) -> Manifest:
    """Only the operator reaches the keeper, which reaches webhooks at their ports."""
    namespace = settings.operator_account.split(":")[0]
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    policy = _network_policy(owner, owner.names.keeper, KEEPER, callers=[operator])
    if ports := webhooks.ports(spec):
        policy["spec"]["egress"].append(
            {"ports": [{"protocol": "TCP", "port": port} for port in ports]}
        )
    return policy


def _network_policy(
    owner: Owner, name: str, component: str, *, callers: list[Manifest] | None
) -> Manifest:
    """Callers reach the HTTP port; the component reaches Postgres, DNS, API server and its writer.

    The API server has no portable selector, so its usual ports are open.
    """
    origin = {} if callers is None else {"from": callers}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": owner.metadata(name, component),
        "spec": {
            "podSelector": {"matchLabels": owner.names.selector(component)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {**origin, "ports": [{"protocol": "TCP", "port": API_PORT}]},
                {"ports": [{"protocol": "TCP", "port": METRICS_PORT}]},
            ],
            "egress": [
                {
                    "to": [{"podSelector": {"matchLabels": owner.names.selector(POSTGRES)}}],
                    "ports": [{"protocol": "TCP", "port": POSTGRES_PORT}],
                },
                {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
                {"ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]},
                internal.egress(owner),
            ],
        },
    }


def api_disruption_budget(owner: Owner) -> Manifest:
    """Drain one API pod at a time."""
    return disruption_budget(owner, owner.names.api, API)


def api(owner: Owner, spec: CreditLedgerSpec, settings: Settings) -> Manifest:
    """The HTTP API: spread over nodes, and replaced without losing a request."""
    names = owner.names
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.selector(API)},
        "matchLabelKeys": ["pod-template-hash"],
    }
    manifest = _http_program(
        owner,
        spec,
        settings,
        component=API,
        name=names.api,
        arguments=["sidecar", "--host=0.0.0.0"],
        resources={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    )
    manifest["spec"] |= {
        "replicas": spec.api_replicas,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
    }
    manifest["spec"]["template"]["spec"]["topologySpreadConstraints"] = [spread]
    internal.admit(manifest)
    internal.listen(manifest, owner)
    if spec.rate_limit.redis is not None:
        _mount_redis(manifest, spec.rate_limit.redis)
    if spec.api_keys_secret is not None:
        api_keys.mount(manifest, spec.api_keys_secret)
    return manifest


def _mount_redis(manifest: Manifest, address: SecretKey) -> None:
    """Let the API read where Redis is; it starts without the Secret, as it works without Redis."""
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    secret = {
        "secretName": address.name,
        "optional": True,
        "items": [{"key": address.key, "path": "url"}],
    }
    pod["volumes"].append({"name": "redis", "secret": secret})
    container["volumeMounts"].append({"name": "redis", "mountPath": REDIS_DIR, "readOnly": True})
    container["args"].append(f"--redis-url-file={REDIS_DIR}/url")


def keeper(owner: Owner, spec: CreditLedgerSpec, settings: Settings) -> Manifest:
    """The one process that does what no request asks for."""
    manifest = _http_program(
        owner,
        spec,
        settings,
        component=KEEPER,
        name=owner.names.keeper,
        arguments=["keeper", f"--operator={settings.operator_account}"],
        resources={"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
    )
    manifest["spec"] |= {"replicas": 1, "strategy": {"type": "Recreate"}}
    internal.admit(manifest)
    webhooks.attach(manifest, spec, CONFIG_DIR)
    return manifest


def _http_program(
    owner: Owner,
    spec: CreditLedgerSpec,
    settings: Settings,
    *,
    component: str,
    name: str,
    arguments: list[str],
    resources: Manifest,
) -> Manifest:
    """A Deployment of our image that speaks HTTP, knows the DSN file and the configuration."""
    names, shard = owner.names, spec.shards[0]
    configuration = json.dumps(_static(_configuration(names, spec)), sort_keys=True)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owner.metadata(name, component),
        "spec": {
            "selector": {"matchLabels": names.selector(component)},
            "template": {
                "metadata": {
                    "labels": names.labels(component),
                    "annotations": {
                        "shieldx.io/config": hashlib.sha256(configuration.encode()).hexdigest()[:16]
                    },
                },
                "spec": {
                    **pod_security(API_UID),
                    "serviceAccountName": name,
                    "automountServiceAccountToken": True,
                    "tolerations": leaving_lost_nodes(),
                    "terminationGracePeriodSeconds": GRACE_SECONDS,
                    "containers": [
                        {
                            "name": component,
                            "image": settings.image,
                            "imagePullPolicy": settings.pull_policy,
                            "securityContext": container_security(),
                            "args": [
                                *arguments,
                                f"--dsn-file={SECRETS_DIR}/dsn",
                                f"--config={CONFIG_DIR}/ledger.json",
                                f"--receipt-keys={RECEIPT_KEYS_DIR}",
                                f"--port={API_PORT}",
                                f"--metrics-port={METRICS_PORT}",
                            ],
                            "ports": [
                                {"name": "http", "containerPort": API_PORT},
                                {"name": "metrics", "containerPort": METRICS_PORT},
                            ],
                            "resources": resources,
                            "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
                            "startupProbe": _probe("/health", period=1, failures=60),
                            "readinessProbe": _probe("/ready", period=2, failures=2),
                            "livenessProbe": _probe("/health", period=10, failures=3),
                            "volumeMounts": [
                                {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
                                {"name": "secret", "mountPath": SECRETS_DIR, "readOnly": True},
                                {
                                    "name": "receipt-keys",
                                    "mountPath": RECEIPT_KEYS_DIR,
                                    "readOnly": True,
                                },
                                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod.
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "config", "configMap": {"name": names.api}},
                        {
                            "name": "secret",
                            "secret": {
                                "secretName": names.secret(shard.name),
                                "items": [{"key": "dsn", "path": "dsn"}],
                            },
                        },
                        {
                            "name": "receipt-keys",
                            "secret": {"secretName": names.receipt_keys},
                        },
                        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                    ],
                },
            },
        },
    }


def _configuration(names: Names, spec: CreditLedgerSpec) -> Manifest:
    return {
        "ledger": f"{names.namespace}/{names.ledger}",
        "shard": spec.shards[0].name,
        "asset": {"code": spec.asset.code, "scale": spec.asset.scale},
        "holds": {
            "defaultTimeoutSeconds": int(spec.default_timeout.total_seconds()),
            "maxTimeoutSeconds": int(spec.max_timeout.total_seconds()),
        },
        "rateLimit": {
            key: {"requestsPerSecond": rate.requests_per_second, "burst": rate.burst}
            for key, rate in _rates(spec).items()
        },
        "auth": {
            "serviceAccounts": [
                {
                    "namespace": caller.namespace,
                    "name": caller.name,
                    "scopes": sorted(caller.scopes),
                    **({} if caller.accounts is None else {"accounts": list(caller.accounts)}),
                }
                for caller in spec.callers
            ]
        },
    }


def _rates(spec: CreditLedgerSpec) -> dict[str, Rate]:
    rates = {"perClient": spec.rate_limit.per_client, "perAccount": spec.rate_limit.per_account}
    return {key: rate for key, rate in rates.items() if rate is not None}


def _static(configuration: Manifest) -> Manifest:
    """The part of the configuration that a process reads only when it starts."""
    return {
        key: value
        for key, value in configuration.items()
        if key not in {"auth", "holds", "rateLimit"}
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "metrics"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
