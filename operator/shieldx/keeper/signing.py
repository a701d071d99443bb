"""Signatures of webhooks as Standard Webhooks has them, so that its libraries can check ours.

A secret is `whsec_` and the base64 of 24 to 64 random bytes. Several of them, one a line, all sign:
that is how a secret is changed without a delivery being refused.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
SHORTEST: Final = 24
LONGEST: Final = 64
ADVICE: Final = "make one with: echo whsec_$(openssl rand -base64 32)"


class SecretError(ValueError):
    """A secret cannot be used; the message says why, and not what it is."""


def read_secrets(text: str) -> list[bytes]:
    """Return the keys of a secret's text, one a line."""
    lines = text.split()
    if not lines:
        raise SecretError(f"the secret is empty: {ADVICE}")
    return [_key(line) for line in lines]


def signatures(secrets: Sequence[bytes], identity: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature` of a message."""
    signed = f"{identity}.{timestamp}.".encode() + body
    digests = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(line: str) -> bytes:
    if not line.startswith(PREFIX):
        raise SecretError(f"the secret does not begin with {PREFIX}: {ADVICE}")
    try:
        key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except binascii.Error as problem:
        raise SecretError(f"the secret is not base64 after {PREFIX}: {ADVICE}") from problem
    if not SHORTEST <= len(key) <= LONGEST:
        raise SecretError(f"the secret has {len(key)} bytes, not {SHORTEST} to {LONGEST}: {ADVICE}")
    return key
