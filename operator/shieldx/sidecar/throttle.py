"""Rate limits: what a caller, and an account, may ask of the ledger in a second.

A request costs its caller one token, a batch one per operation; each account that it is about has
a bucket of its own, of which a batch takes its share. Nothing that is refused here has reached the
ledger, so its key stays as good as new.

The account of an operation is the one that pays, or where a system account pays the one that gets:
everybody's payments meet on `system/revenue`, which therefore has no bucket. Finishing a hold and
reversing cost the caller only, so that what is reserved can always be settled. An account that the
caller may not see has no bucket either: its limit would tell that it exists.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from shieldx.ledger import operations as ops
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.buckets import (
    ACCOUNT,
    CLIENT,
    RATE_LIMITED,
    Ask,
    Claim,
    Cost,
    LocalBuckets,
    Rate,
    Waits,
    whole_seconds,
)
from shieldx.sidecar.config import RateLimit
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.rights import Refusal
from shieldx.sidecar.shared_buckets import SharedBuckets

logger = logging.getLogger(__name__)

NOBODY: Final[dict[str, Refusal]] = {}

type Refused = Mapping[str, Refusal]
type Then = Callable[[Refused], None]


class Throttle:
    """Lets requests through, or answers 429; in Redis's buckets if there are any, else its own."""

    def __init__(
        self, limits: RateLimit, local: LocalBuckets, shared: SharedBuckets | None = None
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._client: Rate | None = None
        self._account: Rate | None = None
        self._local = local
        self._shared = shared
        self.follow(limits)

    def __len__(self) -> int:
        return len(self._local)

    def follow(self, limits: RateLimit) -> None:
        """Hold to these limits from now on; what has been spent stays spent."""
        self._client, self._account = limits.client_rate(), limits.account_rate()

    def admit(
        self,
        exchange: Exchange,
        caller: Caller,
        then: Then,
        *,
        cost: int = 1,
        accounts: Iterable[str | None] = (),
        together: bool = True,
    ) -> None:
        """Go on with `then`, at once or soon; or refuse the request.

        `accounts` has one for each operation that is about one. Unless all is granted or nothing
        (`together`), `then` gets the refusals of those accounts whose part may not be done.
        """
        costs = self._costs(caller, cost, accounts)
        if not costs or (self._shared is None and self._local.spend(costs)):
            then(NOBODY)
            return
        claims = tuple(Claim(*one) for one in costs)
        # Of a plain batch only the caller's own part must be there.
        ask = Ask(claims, len(claims) if together else int(self._client is not None))
        if self._shared is None:
            self._judge(exchange, ask, self._local.take(ask), then)
        else:

            def answered(waits: Waits | None) -> None:
                given = self._local.take(ask) if waits is None else waits
                try:
                    self._judge(exchange, ask, given, then)
                except Exception:
                    logger.exception("A request failed inside the server")
                    exchange.refuse("internal_error", "Our fault: see the server's log.")

            self._shared.take(ask, answered)

    def _costs(self, caller: Caller, cost: int, accounts: Iterable[str | None]) -> list[Cost]:
        """Return what a request takes: of its caller's bucket first, then of its accounts'."""
        costs: list[Cost] = []
        if (rate := self._client) is not None:
            costs.append((f"{CLIENT}:{caller.identity}", cost, rate))
        if (rate := self._account) is not None:
            shares = Counter(accounts) if cost > 1 else dict.fromkeys(accounts, 1)
            for account, share in shares.items():
                if account is not None and _has_bucket(caller, account):
                    costs.append((f"{ACCOUNT}:{account}", share, rate))
        return costs

    def _judge(self, exchange: Exchange, ask: Ask, waits: Waits, then: Then) -> None:
        short = [(wait, claim) for claim, wait in zip(ask.claims, waits, strict=True) if wait]
        for _, claim in short:
            self.refused[claim.bucket.partition(":")[0]] += 1
        if any(waits[: ask.needed]):
            wait, claim = max(short, key=lambda one: one[0])
            refusal = _refusal(claim, wait)
            exchange.refuse(
                refusal.code, refusal.message, refusal.facts, retry_after=whole_seconds(wait)
            )
        else:
            then({claim.bucket.partition(":")[2]: _refusal(claim, wait) for wait, claim in short})


def account_of(operation: ops.Operation) -> str | None:
    """Return the account whose bucket an operation takes from, if any does."""
    match operation:
        case ops.Transfer(debit=debit, credit=credit):
            return credit if debit.startswith(ops.SYSTEM_PREFIX) else debit
        case ops.OpenAccount(id=account) | ops.ChangeAccount(id=account):
            return account
        case (
            ops.Reserve(account=account)
            | ops.Grant(account=account)
            | ops.VoidGrant(account=account)
            | ops.SetAlert(account=account)
        ):
            return account
        case _:
            return None


def _has_bucket(caller: Caller, account: str) -> bool:
    return caller.sees(account) and not account.startswith(ops.SYSTEM_PREFIX)


def _refusal(claim: Claim, wait: float) -> Refusal:
    limit, _, name = claim.bucket.partition(":")
    whose = "You ask" if limit == CLIENT else f"Account {name} is asked"
    rate: Rate = claim.rate
    facts = {
        "limit": limit,
        "requests_per_second": rate.per_second,
        "burst": rate.burst,
        "retry_after_seconds": whole_seconds(wait),
    }
    if limit == ACCOUNT:
        facts["account"] = name
    return Refusal(
        RATE_LIMITED,
        f"{whose} too often: {rate.per_second:g} a second are allowed, {rate.burst} at once; "
        f"try again in {whole_seconds(wait)} s with the same key.",
        facts,
    )
