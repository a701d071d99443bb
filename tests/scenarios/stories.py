"""The stories: which challenger comes, what befalls it, how it should end; and how it did."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.scenarios.shops import (
    BUCKET_SECONDS,
    MEDIAN_SECONDS,
    USUAL,
    Asked,
    Second,
    Shop,
    Version,
)
from tests.scenarios.watching import LateError, Watch
from tests.support.cluster.errors import ClusterError

ENDED: Final = frozenset({"Promoted", "RolledBack", "Inconclusive", "Invalid"})
BACK_WITHIN_SECONDS: Final = BUCKET_SECONDS + 5
LONGEST_TRIAL_SECONDS: Final = 1200
OUTAGE_SECONDS: Final = 60
REST_SECONDS: Final = 20
# An experiment that is asked something else must learn anew what is normal.
KNOWN_SECONDS: Final = 100

type Json = dict[str, Any]
type Trouble = Callable[[Shop, Watch], None]


@dataclass(frozen=True, slots=True)
class Story:
    """One kind of challenger; `blame` is the guardrail on which it should be rolled back.

    `may_last`: what befell it may take so long to be outweighed that there is no verdict in time.
    `note`: what no table shows of it, and a reader should know.
    """

    key: str
    title: str
    ends: str
    errors: float = 0.01
    slowness: float = 1.0
    cold_seconds: int = 0
    blame: str = ""
    trouble: Trouble | None = None
    may_last: bool = False
    asked: Asked = USUAL
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One of several runs of a story."""

    story: Story
    number: int

    @property
    def version(self) -> Version:
        """The challenger, of a revision of its own."""
        of = self.story
        return Version(f"{of.key}{self.number}", of.errors, of.slowness, of.cold_seconds)


@dataclass(frozen=True, slots=True)
class Told:
    """How a run went; times in seconds."""

    of: Run
    ended: str
    decision: str
    faults: tuple[str, ...]  # what was not as it should be
    weight: str = ""  # of the challenger's pods, when it was decided
    buckets: int = 0
    requests: int = 0  # to the challenger, that were counted
    took: float | None = None  # from the challenger's first answer to the verdict
    back: float | None = None  # from the end of the bucket that sufficed to its last answer
    lost: int = 0  # requests without an answer, in all that time
    rate: int = 0  # requests a second that the customers sent
    median_seconds: float = MEDIAN_SECONDS  # of the champion's latency
    ended_at: str = ""
    load: float | None = None  # the machine's load average over the five minutes before


def outage(shop: Shop, watch: Watch) -> None:
    """Take something away for a minute that both versions need, once both are measured."""
    name = shop.world.name
    watch.until(name, lambda it: it.get("samples", 0) > 0 or it.get("phase") in ENDED, 300)
    shop.take_dependency_away()
    time.sleep(OUTAGE_SECONDS)
    shop.give_dependency_back()


def one_slow(shop: Shop, watch: Watch) -> None:
    """Make one of the challenger's pods slow for a minute, once all of them are measured."""
    _slow_minute(shop, watch, 1)


def all_slow(shop: Shop, watch: Watch) -> None:
    """Make all of the challenger's pods slow for a minute, once they are measured."""
    _slow_minute(shop, watch, None)


def _slow_minute(shop: Shop, watch: Watch, pods: int | None) -> None:
    name = shop.world.name
    watch.until(name, lambda it: it.get("samples", 0) > 0 or it.get("phase") in ENDED, 300)
    slow = shop.challengers()[:pods]
    shop.slow_down(slow)
    time.sleep(OUTAGE_SECONDS)
    shop.speed_up(slow)


# All pods of the challenger at once, and long enough for a slow minute in the middle.
HALF_AT_ONCE: Final = ((50, "3m"),)

STORIES: Final = (
    Story("errors", "5 % errors, the champion 1 %", "RolledBack", errors=0.05, blame="errors"),
    Story(
        "slower",
        "1.5 times the latency",
        "RolledBack",
        slowness=1.5,
        blame="latency",
        note="two tries before any that is shown here, with a median of 40 ms at 100 and at 40 "
        "requests a second, came to no verdict in several minutes (on a machine under load its "
        "noise between pods was larger than the harm) and are not counted",
    ),
    Story("equal", "the same", "Promoted"),
    Story(
        "outage",
        "the same; both versions meet an outage for a minute",
        "Promoted",
        trouble=outage,
        note="before the rule had a reserve "
        "([0013](decisions/0013-forget-and-begin-anew-when-the-champion-jumps.md)) none of five "
        "was promoted within nine minutes",
    ),
    Story(
        "cold",
        "the same; its pods are slow for their first minute",
        "Promoted",
        cold_seconds=60,
        asked=Asked(warm_up_seconds=60),
        note="five earlier ones ran while the machine was also trying tests (load 14 to 24): two "
        "of them had no verdict in 20 minutes, since pods of one version had differed much for a "
        "while, which the dispersion remembers for the whole run; they are not counted",
    ),
    Story(
        "pod",
        "the same; one of its four pods is slow for a minute in the middle",
        "Promoted",
        trouble=one_slow,
        may_last=True,
        asked=Asked(HALF_AT_ONCE),
        note="that no verdict yet is enough was decided after the story had been played: of the "
        "first five none was promoted within seven minutes, since in that minute the challenger "
        "was the slower one",
    ),
    Story(
        "minute",
        "the same; all its pods are slow for a minute in the middle; buckets of 30 s",
        "Promoted",
        trouble=all_slow,
        may_last=True,
        asked=Asked(HALF_AT_ONCE, bucket_seconds=30),
    ),
)
BLIND: Final = Story("blind", "the same; Prometheus is stopped for ten minutes", "Promoted")


def play(shop: Shop, watch: Watch, run: Run) -> Told:
    """Release the challenger of a story and wait for its end; what goes wrong is part of it."""
    try:
        if shop.ask(run.story.asked):
            time.sleep(KNOWN_SECONDS)
        record = begin(shop, watch, run.version)
        if run.story.trouble is not None:
            run.story.trouble(shop, watch)
        return end(shop, watch, run, record)
    except (LateError, ClusterError, AssertionError) as problem:
        return Told(run, "none", str(problem), (str(problem),))


def begin(shop: Shop, watch: Watch, version: Version) -> str:
    """Release a version; return the name of its record once it has traffic."""
    name = shop.world.name
    before = watch.status(name).get("runRef")
    shop.release(version)
    status = watch.until(
        name,
        lambda it: it.get("runRef") not in {None, before} and it["phase"] != "Preparing",
        240,
    )
    return str(status["runRef"])


def end(
    shop: Shop, watch: Watch, run: Run, record: str, *, within: float = LONGEST_TRIAL_SECONDS
) -> Told:
    """Wait for the end of a run, or so long, and tell how it went."""
    weight = ""

    def over(status: Json) -> bool:
        nonlocal weight
        if status.get("phase") == "Stepping":
            weight = status["summary"]["weight"]
        return status.get("phase") in ENDED and status.get("runRef") == record

    try:
        status = watch.until(shop.world.name, over, within)
        time.sleep(REST_SECONDS)
    except LateError:
        status = watch.status(shop.world.name)
    trajectory = shop.record(record)["status"].get("trajectory", {})
    points, seconds = trajectory.get("points", []), list(shop.seconds())
    refused = status["phase"] == "RolledBack"
    # A promotion is decided on the newest bucket; harm, once proven, is proven.
    deciding = [it["end"] for it in points if it["verdict"] == "rollback"] if refused else []
    decided = next(iter(deciding), points[-1]["end"] if points else None)
    answered = [second.end for second in seconds if second.of(run.version.name)]
    first, last = (answered[0], answered[-1]) if answered else (None, None)
    told = Told(
        run,
        ended=status["phase"],
        decision=status["decision"],
        faults=(),
        weight=weight,
        buckets=sum(it.get("buckets", 1) for it in points),
        requests=round(sum(it["counts"].get("errors", [0, 0, 0, 0])[2] for it in points)),
        took=None if decided is None or first is None else decided - first,
        back=last - decided if refused and decided is not None and last is not None else None,
        lost=_lost(seconds, first, last),
    )
    return replace(told, faults=tuple(faults(told)))


def _lost(seconds: list[Second], first: int | None, last: int | None) -> int:
    if first is None or last is None:
        return 0
    return sum(second.of("lost") for second in seconds if first <= second.end <= last + 10)


def faults(told: Told) -> Iterator[str]:
    """Yield what was not as it should be."""
    story = told.of.story
    if told.ended not in {story.ends, "Stepping" if story.may_last else story.ends}:
        yield f"should have ended {story.ends}"
    elif story.blame and not told.decision.startswith(f"Rolled back: {story.blame}"):
        # Of latency with one of its boundaries.
        yield f"was not rolled back on {story.blame}"
    if told.back is not None and told.back > BACK_WITHIN_SECONDS:
        yield f"traffic was back only {told.back:.0f} s after the evidence sufficed"
