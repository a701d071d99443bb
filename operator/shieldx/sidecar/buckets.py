"""Token buckets: what may be spent now, and when more may be.

A bucket holds up to `burst` tokens and gains so many a second. Pure: the clock is given. The same
rules stand in `lua/buckets.lua` for buckets that processes share; a test holds the two together.

A claim above the burst is not refused for ever: a full bucket grants it and goes into debt, which
later claims wait for. So the rate holds in the long run, whatever the size of a batch.
"""

import heapq
import math
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

# What a refusal says: its code, and which limit was met.
RATE_LIMITED: Final = "rate_limited"
CLIENT: Final = "client"
ACCOUNT: Final = "account"
CAPACITY: Final = 50_000
# So many make room at once, since looking for them takes looking at all.
ROOM: Final = 8
# What was gained in many small steps is not short of a rounding error.
HAIR: Final = 1e-6


class Rate(NamedTuple):
    """What a bucket gains a second, and what it holds."""

    per_second: float
    burst: int


class Claim(NamedTuple):
    """So many tokens of one bucket."""

    bucket: str
    cost: int
    rate: Rate


# What is claimed together: without all of it, nothing is granted.
type Ask = tuple[Claim, ...]
type Waits = tuple[float, ...]
# A claim before anybody needs its names.
type Cost = tuple[str, int, Rate]


class LocalBuckets:
    """The buckets of this process; of each it knows when it will be full again, and no more.

    (That is the generic cell rate algorithm, ITU-T I.371.) So one that is full is none, and those
    that will be soonest make room.
    """

    def __init__(self, monotonic: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._monotonic = monotonic
        self._capacity = capacity
        self._full_at: dict[str, float] = {}
        self._latest = -math.inf

    def __len__(self) -> int:
        return len(self._full_at)

    def spend(self, costs: Iterable[Cost]) -> bool:
        """Spend all of this if all of it is there, else nothing: the way of nearly every request.

        It grants what `take` grants; `take` can also say how long to wait.
        """
        now = self._now()
        full_at = self._full_at
        later: list[tuple[str, float]] = []
        for bucket, cost, (per_second, burst) in costs:
            at = full_at.get(bucket, now)
            # Conditions, since a call of `max` takes longer than all of this.
            at = now if at < now else at  # noqa: FURB136
            missing = (at - now) * per_second
            if missing + (cost if cost < burst else burst) - burst > HAIR:  # noqa: FURB136
                return False
            later.append((bucket, at + cost / per_second))
        full_at.update(later)
        if len(full_at) > self._capacity:
            self._make_room(now)
        return True

    def take(self, ask: Ask) -> Waits:
        """Spend all or nothing; return, a claim, in how many seconds it could be, 0 if now."""
        return self._take(ask, self._now())

    def take_each(self, asks: Iterable[Ask]) -> list[Waits]:
        """Spend ask after ask what can be granted, all at one moment."""
        now = self._now()
        return [self._take(ask, now) for ask in asks]

    def _take(self, ask: Ask, now: float) -> Waits:
        full_at = [max(now, self._full_at.get(claim.bucket, now)) for claim in ask]
        waits = tuple(_wait(claim, at - now) for claim, at in zip(ask, full_at, strict=True))
        if not any(waits):
            for claim, at in zip(ask, full_at, strict=True):
                self._full_at[claim.bucket] = at + claim.cost / claim.rate.per_second
            if len(self._full_at) > self._capacity:
                self._make_room(now)
        return waits

    def _now(self) -> float:
        """Return the time; a clock that goes back stands still."""
        now = self._monotonic()
        if now < self._latest:
            return self._latest
        self._latest = now
        return now

    def _make_room(self, now: float) -> None:
        full_at = {bucket: at for bucket, at in self._full_at.items() if at > now}
        surplus = len(full_at) - self._capacity
        if surplus > 0:
            surplus += self._capacity // ROOM
            for bucket in heapq.nsmallest(surplus, full_at, key=full_at.__getitem__):
                del full_at[bucket]
        self._full_at = full_at


def _wait(claim: Claim, until_full: float) -> float:
    """Return the seconds until a claim can be granted, of a bucket that is full in so many."""
    burst, per_second = claim.rate.burst, claim.rate.per_second
    missing = until_full * per_second + min(claim.cost, burst) - burst
    return missing / per_second if missing > HAIR else 0.0


def whole_seconds(wait: float) -> int:
    """Return what `Retry-After` says of a wait."""
    return max(1, math.ceil(wait))


def explained(claim: Claim, wait: float) -> tuple[str, dict[str, object]]:
    """Return what is said of a claim that is refused: a message, and its facts."""
    limit, _, name = claim.bucket.partition(":")
    rate, seconds = claim.rate, whole_seconds(wait)
    whose = "You ask" if limit == CLIENT else f"Account {name} is asked"
    more = f" {claim.cost} at once take a full bucket." if claim.cost > rate.burst else ""
    facts: dict[str, object] = {
        "limit": limit,
        "requests_per_second": rate.per_second,
        "burst": rate.burst,
        "retry_after_seconds": seconds,
    }
    if limit == ACCOUNT:
        facts["account"] = name
    message = (
        f"{whose} too often: {rate.per_second:g} a second are allowed, {rate.burst} at once;{more} "
        f"try again in {seconds} s with the same key."
    )
    return message, facts
