"""The live cluster as a place where plain manifests come true.

One class over `kubernetes.aio`'s dynamic client: dict literals in, dicts out. Server-side apply
for what is ours, merge patches that carry a resourceVersion for what is the user's.

    KubeError                     the API server refused, or the world is not as assumed
    ├── ConflictError             the object has changed since it was read: look again
    ├── NamespaceTerminatingError nothing can be created here any more
    └── UnreachableError          no answer: nothing is known
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio import client, config, dynamic
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic.exceptions import DynamicApiError

type Manifest = dict[str, Any]

FIELD_MANAGER: Final = "shieldx"
MERGE_PATCH: Final = "application/merge-patch+json"
TIMEOUT_SECONDS: Final = 30

# It warns of a kubeconfig that is not there, and the error that is raised for it says so again.
logging.getLogger(config.kube_config.__name__).setLevel(logging.ERROR)


class KubeError(Exception):
    """The API server refused, or the world is not as assumed."""


class ConflictError(KubeError):
    """The object has changed since it was read, or exists already: look again."""


class NamespaceTerminatingError(KubeError):
    """The namespace is being deleted: nothing can be created here any more."""


class UnreachableError(KubeError):
    """The API server gave no answer: nothing is known."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token it was: a service account."""

    namespace: str
    name: str


def current_namespace() -> str:
    """Return the namespace of the current kubeconfig context, as kubectl would use it."""
    try:
        _, current = config.list_kube_config_contexts()
    except (config.ConfigException, OSError):
        return "default"
    namespace: str = (current or {}).get("context", {}).get("namespace") or "default"
    return namespace


class Cluster:
    """Read, apply, patch and delete objects by apiVersion, kind, namespace and name."""

    def __init__(self, api: client.ApiClient, resources: dynamic.DynamicClient) -> None:
        self._api = api
        self._dynamic = resources

    @classmethod
    async def open(cls) -> Self:
        """Connect from inside a pod, or else by the current kubeconfig context.

        UnreachableError if the API server does not answer, KubeError if it refuses.
        """
        try:
            config.load_incluster_config()
        except config.ConfigException:
            try:
                await config.load_kube_config()
            except (config.ConfigException, OSError) as lacking:
                raise KubeError(
                    f"there is no cluster to ask: {lacking}; say which with KUBECONFIG"
                ) from lacking
        api = client.ApiClient()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return cls(api, await dynamic.DynamicClient(api))
        except (TimeoutError, aiohttp.ClientError, OSError) as silence:
            await api.close()
            raise UnreachableError(f"no answer from the API server: {silence}") from silence
        except (ApiException, DynamicApiError) as refused:
            await api.close()
            raise KubeError(f"the API server refuses: {refused.status}") from refused
        except BaseException:
            await api.close()
            raise

    async def close(self) -> None:
        await self._api.close()

    async def get(
        self, api_version: str, kind: str, namespace: str | None, name: str
    ) -> Manifest | None:
        """Return the live object, or None where there is none."""
        return await self._call("get", api_version, kind, name=name, namespace=namespace)

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, labels: str | None = None
    ) -> list[Manifest]:
        """Return the objects of one namespace (None: of all) that a label selector picks."""
        found = await self._call(
            "get", api_version, kind, namespace=namespace, label_selector=labels
        )
        return list(found["items"]) if found else []

    async def apply(
        self,
        manifest: Manifest,
        *,
        subresource: str | None = None,
        manager: str = FIELD_MANAGER,
        force: bool = True,
    ) -> Manifest:
        """Make the live object agree with every field that `manifest` states.

        Without `force`, ConflictError where somebody else has set one of them otherwise.
        """
        applied = await self._call(
            "server_side_apply",
            manifest["apiVersion"],
            manifest["kind"],
            subresource=subresource,
            body=manifest,
            name=manifest["metadata"]["name"],
            namespace=manifest["metadata"].get("namespace"),
            field_manager=manager,
            force_conflicts=force,
        )
        if applied is None:
            msg = f"{manifest['kind']} {manifest['metadata']['name']} is not there to be applied"
            raise KubeError(msg)
        return applied

    async def create(self, manifest: Manifest) -> bool:
        """Create the object; False where one of that name exists, which is left as it is."""
        try:
            await self._call(
                "create",
                manifest["apiVersion"],
                manifest["kind"],
                body=manifest,
                namespace=manifest["metadata"].get("namespace"),
                field_manager=FIELD_MANAGER,
            )
        except ConflictError:
            return False
        return True

    async def patch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        name: str,
        body: Manifest,
        *,
        resource_version: str | None = None,
        subresource: str | None = None,
    ) -> Manifest | None:
        """Merge-patch the object; None where it is gone.

        With `resource_version` the write is a compare-and-set: ConflictError if it has changed.
        """
        if resource_version is not None:
            metadata = {**body.get("metadata", {}), "resourceVersion": resource_version}
            body = {**body, "metadata": metadata}
        return await self._call(
            "patch",
            api_version,
            kind,
            subresource=subresource,
            body=body,
            name=name,
            namespace=namespace,
            content_type=MERGE_PATCH,
            field_manager=FIELD_MANAGER,
        )

    async def delete(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
    ) -> bool:
        """Delete the object and what it owns; False where there was none."""
        deleted = await self._call(
            "delete",
            api_version,
            kind,
            name=name,
            namespace=namespace,
            propagation_policy=propagation,
        )
        return deleted is not None

    async def review_token(self, token: str, audience: str) -> Identity | None:
        """Ask the API server whose service-account token this is; None if it is not valid."""
        review = await self._call(
            "create",
            "authentication.k8s.io/v1",
            "TokenReview",
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": token, "audiences": [audience]},
            },
        )
        status = (review or {}).get("status", {})
        if not status.get("authenticated") or audience not in status.get("audiences", []):
            return None
        match status.get("user", {}).get("username", "").split(":"):
            case ["system", "serviceaccount", namespace, name]:
                return Identity(namespace, name)
            case _:
                return None

    async def read(self, path: str) -> Manifest:
        """Return the JSON that the API server publishes at a path of its own."""
        # Without its own media type the API server does not hand out the JWKS.
        accept = {"Accept": "application/jwk-set+json, application/json"}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._dynamic.request(
                    "get", path, header_params=accept, serializer=_as_dict
                )
        except (ApiException, DynamicApiError) as refused:
            raise KubeError(f"get {path}: {refused.status}") from refused
        except (TimeoutError, aiohttp.ClientError, OSError) as silence:
            raise UnreachableError(f"no answer from the API server to get {path}") from silence
        if not isinstance(answer, dict):
            raise KubeError(f"get {path}: the answer is no JSON object")
        return answer

    async def _call(
        self,
        verb: str,
        api_version: str,
        kind: str,
        *,
        subresource: str | None = None,
        **arguments: Any,
    ) -> Manifest | None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                resource = await self._dynamic.resources.get(api_version=api_version, kind=kind)
                if subresource is not None:
                    resource = resource.subresources[subresource]
                answer = await getattr(self._dynamic, verb)(
                    resource, serializer=_as_dict, **arguments
                )
        except (ApiException, DynamicApiError) as refused:
            _explain(refused, verb, kind)
            return None
        except (TimeoutError, aiohttp.ClientError, OSError) as silence:
            msg = f"no answer from the API server to {verb} {kind}"
            raise UnreachableError(msg) from silence
        return answer  # type: ignore[no-any-return] # the dynamic client is untyped.


def _as_dict(_: object, answer: Manifest) -> Manifest:
    return answer


def _explain(refused: ApiException | DynamicApiError, verb: str, kind: str) -> None:
    """Turn "not found" into None, and every other refusal into an error of ours."""
    body = str(refused.body)
    match refused.status:
        case 404:
            return
        case 409:
            raise ConflictError(f"{verb} {kind}: {body[:500]}") from refused
        case 403 if "NamespaceTerminating" in body or "is being terminated" in body:
            raise NamespaceTerminatingError(f"{verb} {kind}: {body[:500]}") from refused
        case _:
            raise KubeError(f"{verb} {kind}: {refused.status} {body[:500]}") from refused
