"""Rate limits: what a caller, and an account, may ask of the ledger in a second.

A request costs its caller one token, a batch one per operation; each account that it is about has
a bucket of its own, of which a batch takes its share. An atomic batch is let through whole or not
at all. So is a plain one where there is enough; else its operations stand in line as if each had
come alone. Nothing that is refused here has reached the ledger, so its key stays as good as new.

The account of an operation is the one that pays, or where a system account pays the one that gets:
everybody's payments meet on `system/revenue`, which therefore has no bucket. Finishing a hold and
reversing cost the caller only, so that what is reserved can always be settled. An account that the
caller may not see has no bucket either: its limit would tell that it exists.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    explained,
    whole_seconds,
)
from shieldx.sidecar.config import RateLimit
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.rights import Refusal
from shieldx.sidecar.shared_buckets import SharedBuckets

logger = logging.getLogger(__name__)

NOBODY: Final[dict[int, Refusal]] = {}

# By the places of the operations.
type Refused = Mapping[int, Refusal]
# What there is too little of, and for how many seconds.
type Short = tuple[float, Claim]


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
        """Hold to these limits from now on; a bucket is full again when it would have been."""
        self._client, self._account = limits.client_rate(), limits.account_rate()

    def passes(self, caller: Caller, account: str | None) -> bool:
        """Let one operation through if this can be said here and now; else ask `admit`."""
        costs: list[Cost] = []
        if (rate := self._client) is not None:
            costs.append((f"{CLIENT}:{caller.identity}", 1, rate))
        rate = self._account
        if rate is not None and account is not None and _has_bucket(caller, account):
            costs.append((f"{ACCOUNT}:{account}", 1, rate))
        return not costs or (self._shared is None and self._local.spend(costs))

    def admit(
        self,
        exchange: Exchange,
        caller: Caller,
        then: Callable[[], None],
        *,
        cost: int = 1,
        accounts: Iterable[str | None] = (),
    ) -> None:
        """Go on with `then`, at once or soon; or refuse the request.

        `accounts` has one for each operation that is about one.
        """
        costs = self._costs(caller, cost, accounts)
        if not costs or (self._shared is None and self._local.spend(costs)):
            then()
            return
        ask = tuple(Claim(*one) for one in costs)

        def taken(given: Sequence[Waits]) -> None:
            short = _short(ask, given[0])
            if not short:
                then()
                return
            self._count(short)
            wait, claim = max(short, key=_wait)
            refusal = _refusal(claim, wait)
            exchange.refuse(
                refusal.code, refusal.message, refusal.facts, retry_after=whole_seconds(wait)
            )

        self._take(exchange, (ask,), taken)

    def admit_each(
        self,
        exchange: Exchange,
        caller: Caller,
        then: Callable[[Refused], None],
        accounts: Sequence[str | None],
    ) -> None:
        """Let the operations of a plain batch through, in their order, as far as tokens reach.

        `then` gets the refusals of the others. `accounts` has one entry for each operation.
        """
        costs = self._costs(caller, len(accounts), accounts)
        if not costs or (self._shared is None and self._local.spend(costs)):
            then(NOBODY)
            return
        whole = tuple(Claim(*one) for one in costs)
        asks = self._asks(caller, accounts)

        def each(given: Sequence[Waits]) -> None:
            then(self._refusals(whole, asks, given))

        def taken(given: Sequence[Waits]) -> None:
            if any(given[0]):
                self._take(exchange, asks, each)
            else:
                then(NOBODY)

        self._take(exchange, (whole,), taken)

    def _take(
        self, exchange: Exchange, asks: Sequence[Ask], then: Callable[[Sequence[Waits]], None]
    ) -> None:
        if self._shared is None:
            then(self._local.take_each(asks))
            return
        given: list[Waits] = []

        def answered(waits: Waits | None) -> None:
            given.append(self._local.take(asks[len(given)]) if waits is None else waits)
            if len(given) == len(asks):
                try:
                    then(given)
                except Exception:
                    logger.exception("A request failed inside the server")
                    exchange.refuse("internal_error", "Our fault: see the server's log.")

        for ask in asks:
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

    def _asks(self, caller: Caller, accounts: Iterable[str | None]) -> list[Ask]:
        """Return what operations take that stand each for itself."""
        own: Ask = ()
        if (rate := self._client) is not None:
            own = (Claim(f"{CLIENT}:{caller.identity}", 1, rate),)
        if (rate := self._account) is None:
            return [own for _ in accounts]
        return [
            (*own, Claim(f"{ACCOUNT}:{account}", 1, rate))
            if account is not None and _has_bucket(caller, account)
            else own
            for account in accounts
        ]

    def _refusals(self, whole: Ask, asks: Sequence[Ask], given: Sequence[Waits]) -> Refused:
        """Return which operations may not be done, and when each could be.

        That is when the same batch would get so far if it were sent again, whose operations before
        this one take their tokens again, replayed or not.
        """
        total = {claim.bucket: claim.cost for claim in whole}
        before: Counter[str] = Counter()
        refused: dict[int, Refusal] = {}
        for place, (ask, waits) in enumerate(zip(asks, given, strict=True)):
            short = [
                (
                    wait + min(before[claim.bucket], claim.rate.burst - 1) / claim.rate.per_second,
                    claim,
                )
                for wait, claim in _short(ask, waits)
            ]
            if short:
                self._count(short)
                wait, claim = max(short, key=_wait)
                refused[place] = _refusal(claim._replace(cost=total[claim.bucket]), wait)
            before.update(claim.bucket for claim in ask)
        return refused

    def _count(self, short: Iterable[Short]) -> None:
        for _, claim in short:
            self.refused[claim.bucket.partition(":")[0]] += 1


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


def _short(ask: Ask, waits: Waits) -> list[Short]:
    return [(wait, claim) for claim, wait in zip(ask, waits, strict=True) if wait]


def _wait(short: Short) -> float:
    return short[0]


def _refusal(claim: Claim, wait: float) -> Refusal:
    return Refusal(RATE_LIMITED, *explained(claim, wait))
