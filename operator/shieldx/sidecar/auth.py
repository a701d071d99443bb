"""Who calls, and what that caller may do.

A caller is a Kubernetes service account, known by its token (`shieldx.kube`), that the ledger's
configuration names together with scopes and account prefixes; or the holder of an API key
(`shieldx.sidecar.api_keys`). What lies outside the prefixes does not exist for that caller: 404,
never "exists but is not yours".
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from shieldx.kube.tokens import Reviewed, ReviewUnavailableError
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.scopes import Scope

logger = logging.getLogger(__name__)

SYSTEM: Final = "system/"
NOT_VALID: Final = "The token is not valid for audience shieldx, or expired."
CHALLENGE: Final = b'www-authenticate: Bearer realm="shieldx"\r\n'


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: the owner of its idempotency keys, with its rights."""

    identity: str
    scopes: frozenset[Scope]
    prefixes: tuple[str, ...] | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def sees(self, account: str) -> bool:
        """Whether this account exists for the caller."""
        return self.prefixes is None or account.startswith(self.prefixes)

    def sees_any(self, accounts: Iterable[str]) -> bool:
        return self.prefixes is None or any(map(self.sees, accounts))


EMBEDDED: Final = Caller("embedded", frozenset(Scope))

type Policy = dict[tuple[str, str], Caller]
type Then = Callable[[Exchange, Caller], None]


class Authenticator(Protocol):
    """Finds out who calls, then goes on with the request; or refuses it."""

    def identify(self, exchange: Exchange, then: Then) -> None: ...


class NoTokens:
    """For a server that only this machine can reach: everybody is the one caller."""

    def identify(self, exchange: Exchange, then: Then) -> None:
        then(exchange, EMBEDDED)


class Tokens(Protocol):
    """Knows whose a token is at once, or by asking; `ReviewUnavailableError` on silence."""

    def known(self, token: bytes, digest: bytes) -> Reviewed | None: ...

    async def review(self, token: bytes) -> Reviewed: ...


class ServiceAccounts:
    """Bearer tokens of service accounts, matched against the ledger's configuration."""

    def __init__(self, tokens: Tokens, policy: Policy) -> None:
        self.policy = policy
        self._tokens = tokens
        self._waiting: set[asyncio.Task[None]] = set()

    def identify(self, exchange: Exchange, then: Then) -> None:
        """Go on at once when it is known whose the token is, else when the cluster has said."""
        shown = exchange.shown()
        token = shown.token
        if token is None:
            unauthenticated(
                exchange, "Send a service-account token or an API key: Authorization: Bearer …."
            )
            return
        reviewed = self._tokens.known(token, shown.digest)
        if reviewed is not None:
            self._admit(exchange, reviewed, then)
            return
        task = asyncio.create_task(self._review(exchange, token, then))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _review(self, exchange: Exchange, token: bytes, then: Then) -> None:
        try:
            reviewed = await self._tokens.review(token)
        except ReviewUnavailableError as error:
            logger.warning("A token could not be reviewed: %s", error)
            exchange.refuse(
                "authentication_unavailable",
                "The cluster does not answer token reviews; try again.",
            )
            return
        except Exception:
            logger.exception("A token review failed")
            exchange.refuse("internal_error", "Our fault: see the server's log.")
            return
        self._admit(exchange, reviewed, then)

    def _admit(self, exchange: Exchange, reviewed: Reviewed, then: Then) -> None:
        identity = reviewed.identity
        if identity is None:
            unauthenticated(exchange, reviewed.reason or NOT_VALID)
            return
        caller = self.policy.get((identity.namespace, identity.name))
        if caller is None:
            exchange.refuse(
                "unknown_caller",
                f"Service account {identity.namespace}/{identity.name} is not in this ledger's "
                "spec.api.auth.serviceAccounts; add it there.",
            )
            return
        try:
            then(exchange, caller)
        except Exception:
            logger.exception("A request failed inside the server")
            exchange.refuse("internal_error", "Our fault: see the server's log.")


def unauthenticated(exchange: Exchange, message: str) -> None:
    """Refuse whoever is not known, and say which scheme is."""
    exchange.refuse("unauthenticated", message, fields=CHALLENGE)
