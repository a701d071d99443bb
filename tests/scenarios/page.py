"""The page of the scenarios: a table of all, and one row a run."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from tests.scenarios.stories import BACK_WITHIN_SECONDS, BLIND, STORIES, Story, Told

# Since when (UTC) the operator decides as it does; to be moved when its rule changes.
RULE_SINCE = "2026-11-26 13:59"

INTRODUCTION = """\
# Scenarios on a cluster

Written by `make scenarios`; not edited by hand. Each run is a real trial on a real cluster: four
pods of the champion, `traffic.replicas`, steps of 20 % for two minutes and 50 % for one (where pods
are slow in the middle, 50 % at once), buckets of 10 s, `warmUp: 20s` (60 s where pods are slow at
first), `minDuration: 2m`, and two guardrails: errors (1 % of the champion; margin + 2
percentage points) and latency (share beyond the boundary nearest the champion's p95; margin
+ 100 %). Customers come at random moments, each by a connection of its own through the Service;
errors and latencies (lognormal) are drawn by chance. Runs go beside each other, each
in a namespace of its own, on one machine of {processors} processors with the whole cluster, the
customers, and whatever else runs on it. *Latency* is the champion's median. *Load* is the machine's
load average over five minutes: what is above {processors} is waiting, which latencies show, too.
Stories can be played one at a time (`ONLY=`), so rows may be of different days and loads.

* *Back* is what the customers saw: from the end of the bucket with which the evidence for a
  roll-back sufficed until the last answer that any of them got from the challenger; asked is at
  most one bucket and 5 s, so {back} s.
* *Trial* is from the first answer of the challenger to the end of the bucket that decided.
* *Lost* are requests without any answer, connections refused or cut, from the first answer of the
  challenger until 10 s after its last one, so also while the Deployment rolls.
"""


def page(tales: Sequence[Told]) -> str:
    """Return the whole page."""
    told = {story: [it for it in tales if it.of.story == story] for story in (*STORIES, BLIND)}
    return "\n".join(
        [
            INTRODUCTION.format(processors=os.cpu_count(), back=BACK_WITHIN_SECONDS),
            *_head("challenger, should end, as it should, trial, back (longest), lost", text=2),
            *(_summary(story, runs) for story, runs in told.items() if runs),
            "",
            *_notes(told),
            "## Every run",
            "",
            *_head(
                "challenger, ended, decision, run, at weight, buckets, its requests, trial, back, "
                "lost, customers, latency, load, at (UTC)",
                text=3,
            ),
            *(_row(it) for runs in told.values() for it in runs),
            "",
        ]
    )


def _notes(told: Mapping[Story, Sequence[Told]]) -> Iterator[str]:
    """Yield what the table does not show of the stories in it, if anything."""
    notes = [
        f"* *{story.title}*: {story.note}." for story, runs in told.items() if story.note and runs
    ]
    if old := [it for runs in told.values() for it in runs if it.ended_at < RULE_SINCE]:
        notes.append(
            f"* {len(old)} of the runs are from before {RULE_SINCE} UTC, when the rule had no "
            "reserve yet, which without an outage costs about 2 % more evidence."
        )
    if cut := [it for runs in told.values() for it in runs if it.ended == "Stepping"]:
        notes.append(
            f"* {len(cut)} of the runs were still on trial when watching ended, as their rows say; "
            "their *trial* is until then."
        )
    if notes:
        yield from ("What the table does not show:", "", *notes, "")


def _head(titles: str, *, text: int) -> Iterator[str]:
    """Yield the head of a table of which so many columns are text, the others numbers."""
    columns = titles.split(", ")
    yield _line(columns)
    yield f"|{'---|' * text}{'--:|' * (len(columns) - text)}"


def _summary(story: Story, runs: Sequence[Told]) -> str:
    good = sum(not it.faults for it in runs)
    trials = [it.took for it in runs if it.took is not None]
    back = [it.back for it in runs if it.back is not None]
    cells = (
        story.title,
        f"`{story.ends}`{', or no verdict yet' if story.may_last else ''}",
        f"{good} of {len(runs)}",
        _seconds(median(trials)) if trials else "",
        f"{_seconds(median(back))} ({_seconds(max(back))})" if back else "",
        str(sum(it.lost for it in runs)),
    )
    return _line(cells)


def _row(it: Told) -> str:
    faults = "".join(f" **{fault}**" for fault in it.faults)
    cells = (
        it.of.story.title,
        f"`{it.ended}`",
        f"{it.decision}{faults}",
        str(it.of.number),
        it.weight,
        str(it.buckets),
        f"{it.requests:,}",
        _seconds(it.took),
        _seconds(it.back),
        str(it.lost),
        f"{it.rate}/s",
        f"{1000 * it.median_seconds:.0f} ms",
        "" if it.load is None else f"{it.load:.0f}",
        it.ended_at,
    )
    return _line(cells)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
