"""The user's Secret of API keys, in the API's pods; the operator itself never reads it."""

from typing import Final

from controllers.creditledger.manifests.owner import Manifest

API_KEYS_DIR: Final = "/run/secrets/shieldx-api-keys"


def mount(manifest: Manifest, secret: str) -> None:
    """Let the API read whose key is whose.

    It starts without the Secret, since service accounts call it too; and a Secret that is deleted
    leaves the pods, which one that is not optional would not.
    """
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    pod["volumes"].append({"name": "api-keys", "secret": {"secretName": secret, "optional": True}})
    container["volumeMounts"].append(
        {"name": "api-keys", "mountPath": API_KEYS_DIR, "readOnly": True}
    )
    container["args"].append(f"--api-keys={API_KEYS_DIR}")
