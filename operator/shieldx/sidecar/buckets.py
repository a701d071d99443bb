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
HAIR: Final = 1e-9


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
    """The buckets of this process. Those not used for longest make room, and are full."""

    def __init__(self, monotonic: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._monotonic = monotonic
        self._capacity = capacity
        # Of each its level, and when it had that.
        self._filled: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._filled)

    def spend(self, costs: Iterable[Cost]) -> bool:
        """Spend all of this if all of it is there, else nothing: the way of nearly every request.

        It grants what `take` grants; `take` can also say how long to wait.
        """
        now = self._monotonic()
        filled = self._filled
        left: list[tuple[str, float]] = []
        for bucket, cost, (per_second, burst) in costs:
            level, at = filled.get(bucket) or (burst, now)
            if now > at:
                level += (now - at) * per_second
            # Conditions, since a call of `min` takes longer than all of this.
            level = burst if level > burst else level  # noqa: FURB136
            if (cost if cost < burst else burst) - level > HAIR:  # noqa: FURB136
                return False
            left.append((bucket, level - cost))
        for bucket, level in left:
            filled[bucket] = level, now
        if len(filled) > self._capacity:
            self._make_room()
        return True

    def take(self, ask: Ask) -> Waits:
        """Spend all or nothing; return, a claim, in how many seconds it could be, 0 if now."""
        return self._take(ask, self._monotonic())

    def take_each(self, asks: Iterable[Ask]) -> list[Waits]:
        """Spend ask after ask what can be granted, all at one moment."""
        now = self._monotonic()
        return [self._take(ask, now) for ask in asks]

    def _take(self, ask: Ask, now: float) -> Waits:
        levels = [self._level(claim, now) for claim in ask]
        waits = tuple(map(_wait, ask, levels))
        if not any(waits):
            for claim, level in zip(ask, levels, strict=True):
                self._filled[claim.bucket] = level - claim.cost, now
            if len(self._filled) > self._capacity:
                self._make_room()
        return waits

    def _level(self, claim: Claim, now: float) -> float:
        burst = claim.rate.burst
        level, at = self._filled.get(claim.bucket) or (burst, now)
        return min(burst, level + max(0.0, now - at) * claim.rate.per_second)

    def _make_room(self) -> None:
        filled = self._filled
        surplus = len(filled) - self._capacity + self._capacity // ROOM
        for name in heapq.nsmallest(surplus, filled, key=lambda name: filled[name][1]):
            del filled[name]


def _wait(claim: Claim, level: float) -> float:
    missing = min(claim.cost, claim.rate.burst) - level - HAIR
    return missing / claim.rate.per_second if missing > 0 else 0.0


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
