"""What the keeper needs to tell webhooks: their list, their secrets, and a way out to them."""

import hashlib
import json
from typing import Final
from urllib.parse import urlsplit

from controllers.creditledger.manifests.owner import Manifest
from shieldx.resources.creditledger import CreditLedgerSpec

FILE: Final = "webhooks.json"
FOLDER: Final = "/run/secrets/webhooks"
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def listing(spec: CreditLedgerSpec) -> str:
    """Return the file that the keeper reads; secrets are in files of their own."""
    hooks = [
        {"url": hook.url, "secretFile": f"{FOLDER}/{number}/secret"}
        for number, hook in enumerate(spec.webhooks)
    ]
    return json.dumps(hooks, indent=1)


def attach(keeper: Manifest, spec: CreditLedgerSpec, folder: str) -> None:
    """Give the keeper's Deployment the list, which is in `folder`, and the secrets of webhooks.

    A Secret that is not there yet holds up its own webhook only, not the keeper.
    """
    if not spec.webhooks:
        return
    template = keeper["spec"]["template"]
    pod, (container,) = template["spec"], template["spec"]["containers"]
    digest = hashlib.sha256(listing(spec).encode()).hexdigest()[:16]
    template["metadata"]["annotations"]["shieldx.io/webhooks"] = digest
    container["args"].append(f"--webhooks={folder}/{FILE}")
    for number, hook in enumerate(spec.webhooks):
        name = f"webhook-{number}"
        items = [{"key": hook.secret.key, "path": "secret"}]
        secret = {"secretName": hook.secret.name, "items": items, "optional": True}
        pod["volumes"].append({"name": name, "secret": secret})
        mount = {"name": name, "mountPath": f"{FOLDER}/{number}", "readOnly": True}
        container["volumeMounts"].append(mount)


def ports(spec: CreditLedgerSpec) -> list[int]:
    """Return the ports at which webhooks listen."""
    parts = [urlsplit(hook.url) for hook in spec.webhooks]
    return sorted({part.port or DEFAULT_PORTS[part.scheme] for part in parts})
