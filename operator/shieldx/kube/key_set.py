"""Whose token is this? Told from the public keys of the cluster, without asking the cluster.

The API server signs the tokens of service accounts and publishes the public keys (JWKS), so a
token is judged by its signature, audience, issuer and times. PyJWT does the cryptography; each
key takes its own algorithm only, so a token cannot choose one.

    UndecidedError   signed by no key that is known here, or for an issuer that was the cluster's
                     before: the keys cannot answer, the cluster can

What a signature cannot tell is that the account or pod of a token has been deleted since: see
`shieldx.kube.signed_tokens`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shieldx.kube.cluster import Identity

logger = logging.getLogger(__name__)

ALGORITHMS: Final = frozenset({"RS256", "ES256"})
LEAST_RSA_BITS: Final = 2048
LEEWAY_SECONDS: Final = 10
REQUIRED: Final = ("aud", "exp", "iss", "sub")

# Why a token is nobody's, in words for whoever sent it.
INVALID: Final = "The token is not a valid one of a service account of this cluster."
EXPIRED: Final = "The token has expired: read it anew from where it is mounted."
OTHER_ISSUER: Final = "The token is of another issuer than this cluster."


class UndecidedError(Exception):
    """The keys at hand cannot tell whose token it is."""


class KeysError(Exception):
    """What the cluster publishes is not an issuer with its keys."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Whose a valid token is, and until when (seconds since 1970)."""

    identity: Identity
    expires: float


@dataclass(frozen=True, slots=True)
class KeySet:
    """The cluster's issuer, its public keys by their ids, and issuers that it had before."""

    issuer: str
    keys: Mapping[str, jwt.PyJWK]
    former: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, discovery: Mapping[str, Any], jwks: Mapping[str, Any]) -> Self:
        """Read what `/.well-known/openid-configuration` and the JWKS say; KeysError if nothing.

        Keys of other kinds are left out: what they sign is the cluster's to judge.
        """
        issuer, listed = discovery.get("issuer"), jwks.get("keys")
        if not isinstance(issuer, str) or not issuer or not isinstance(listed, list):
            raise KeysError("the cluster's discovery names no issuer or lists no keys")
        keys = {key.key_id: key for key in map(_key, listed) if key is not None and key.key_id}
        if not keys:
            raise KeysError(f"none of the cluster's {len(listed)} keys is of a kind known here")
        return cls(issuer, keys)

    def after(self, last: Self | None) -> Self:
        """Remember the issuers of the keys before: the cluster may still accept their tokens."""
        if last is None:
            return self
        return replace(self, former=(last.former | {last.issuer}) - {self.issuer})

    def verify(self, token: bytes, audience: str) -> Verified | str:
        """Return whose token it is; or why it is nobody's; or UndecidedError."""
        try:
            key = self.keys.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                claims = jwt.decode(token, options={"verify_signature": False})
            else:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=[key.algorithm_name],
                    audience=audience,
                    leeway=LEEWAY_SECONDS,
                    options={"require": list(REQUIRED)},
                )
        except jwt.ExpiredSignatureError:
            return EXPIRED
        except jwt.InvalidAudienceError:
            return f"The token is not for audience {audience}."
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError):
            return INVALID
        if (issuer := claims.get("iss")) != self.issuer:
            if isinstance(issuer, str) and issuer in self.former:
                raise UndecidedError("for an issuer that the cluster had before")
            return OTHER_ISSUER
        if key is None:
            raise UndecidedError("signed by a key that is not known here")
        match str(claims["sub"]).split(":"):
            case ["system", "serviceaccount", namespace, name]:
                return Verified(Identity(namespace, name), float(claims["exp"]) + LEEWAY_SECONDS)
            case _:
                return INVALID


def _key(listed: object) -> jwt.PyJWK | None:
    if not isinstance(listed, dict):
        return None
    try:
        key = jwt.PyJWK.from_dict(listed)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if key.algorithm_name not in ALGORITHMS:
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < LEAST_RSA_BITS:
        logger.warning("A key of the cluster is not used: RSA of %d bits", key.key.key_size)
        return None
    return key
