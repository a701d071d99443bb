"""What an experiment must remember, kept in its status: read at the start of a pass, written once.

Everything that a decision rests on is in here, so a restarted operator goes on where the last
write ended. It is written together with the resourceVersion it was decided on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

from controllers.shadowexperiment.manifests import Manifest
from controllers.shadowexperiment.phases import Phase
from controllers.shadowexperiment.reach import Reach
from shieldx.judgement.trajectory import Point, Trajectory
from shieldx.resources.durations import format_duration, parse_duration

# Revisions; of those that were not tried for longer it is forgotten how often they were.
ATTEMPTS_KEPT: Final = 200


class Outcome(StrEnum):
    """How the run of a challenger ends."""

    PROMOTED = "Promoted"  # on evidence
    ROLLED_BACK = "RolledBack"  # on evidence
    FAILED = "Failed"  # its pods never got ready
    PASSED = "Passed"  # it rolled out without a verdict
    INCONCLUSIVE = "Inconclusive"  # no verdict in time, and refused for that
    NO_DATA = "NoData"  # not measured for too long, and refused for that
    WITHDRAWN = "Withdrawn"  # git, or the experiment, asked for something else


# After these the Deployment stays paused until git asks for another template.
REFUSED: Final = frozenset(
    {Outcome.ROLLED_BACK, Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.NO_DATA}
)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the experiment is; hashes are of pod templates, weights are in percent."""

    phase: Phase = Phase.INVALID
    paused_from: Phase | None = None
    since: datetime | None = None  # when the phase, or the step, began
    champion: str | None = None
    challenger: str | None = None
    attempt: int = 0
    attempts: tuple[tuple[str, int], ...] = ()
    outcome: Outcome | None = None
    step: int = 0  # from 1; 0 while there is none
    weight: int = 0  # asked for
    reached_at: datetime | None = None
    evidence_from: datetime | None = None
    served_since: datetime | None = None
    paused_for: timedelta = timedelta(0)  # in all, since the challenger was served
    counted_until: datetime | None = None  # end of the newest bucket that sufficed
    configuration: str | None = None
    engine: str | None = None
    run: str | None = None
    decision: str = ""
    verdict: str | None = None
    probability_ok: float | None = None
    samples: int = 0
    reach: Reach = field(default_factory=Reach)
    metrics: tuple[Manifest, ...] = ()
    base_rates: tuple[tuple[str, float], ...] = ()
    unrecorded: tuple[Manifest, ...] = ()  # the newest buckets, until the run's record has them

    @classmethod
    def parse(cls, status: Mapping[str, Any]) -> Self:
        """Read what the last pass has left; nothing at all for a new experiment."""
        step, summary = status.get("step", {}), status.get("summary", {})
        return cls(
            phase=Phase(status.get("phase", Phase.INVALID)),
            paused_from=Phase(status["pausedFrom"]) if "pausedFrom" in status else None,
            since=_time(status.get("since")),
            champion=status.get("champion"),
            challenger=status.get("challenger"),
            attempt=status.get("attempt", 0),
            attempts=tuple((a["revision"], a["runs"]) for a in status.get("attempts", [])),
            outcome=Outcome(status["outcome"]) if "outcome" in status else None,
            step=step.get("index", 0),
            weight=step.get("weight", 0),
            reached_at=_time(step.get("reachedAt")),
            evidence_from=_time(step.get("evidenceFrom")),
            served_since=_time(status.get("servedSince")),
            paused_for=parse_duration(status.get("pausedFor", "0s")),
            counted_until=_time(status.get("countedUntil")),
            configuration=status.get("configuration"),
            engine=status.get("engine"),
            run=status.get("runRef"),
            decision=status.get("decision", ""),
            verdict=status.get("verdict"),
            probability_ok=_share(summary.get("probabilityOk")),
            samples=status.get("samples", 0),
            reach=Reach.parse(status.get("reach", {})),
            metrics=tuple(status.get("metrics", [])),
            base_rates=tuple((b["name"], float(b["rate"])) for b in status.get("baseRates", [])),
            unrecorded=tuple(status.get("unrecorded", [])),
        )

    def render(self) -> Manifest:
        """Return the part of the status that `parse` reads; None removes a field."""
        return {
            "phase": str(self.phase),
            "pausedFrom": None if self.paused_from is None else str(self.paused_from),
            "since": text_of(self.since),
            "champion": self.champion,
            "challenger": self.challenger,
            "attempt": self.attempt,
            "attempts": [{"revision": name, "runs": runs} for name, runs in self.attempts],
            "outcome": None if self.outcome is None else str(self.outcome),
            "step": {
                "index": self.step,
                "weight": self.weight,
                "reachedAt": text_of(self.reached_at),
                "evidenceFrom": text_of(self.evidence_from),
            },
            "servedSince": text_of(self.served_since),
            "pausedFor": format_duration(self.paused_for) if self.paused_for else None,
            "countedUntil": text_of(self.counted_until),
            "configuration": self.configuration,
            "engine": self.engine,
            "runRef": self.run,
            "decision": self.decision,
            "verdict": self.verdict,
            "summary": {
                "probabilityOk": None
                if self.probability_ok is None
                else f"{100 * self.probability_ok:.1f}%"
            },
            "samples": self.samples,
            "reach": self.reach.render(),
            "metrics": list(self.metrics),
            "baseRates": [{"name": name, "rate": f"{rate:.6g}"} for name, rate in self.base_rates],
            "unrecorded": list(self.unrecorded) or None,
        }

    def until(self, longest: timedelta) -> datetime | None:
        """Return when the time for a verdict is up; a pause does not count."""
        return None if self.served_since is None else self.served_since + longest + self.paused_for

    def tried(
        self, revision: str, *, attempt: int, configuration: str, run: str, now: datetime
    ) -> Self:
        """Begin a run of `revision`, of which there were `attempt` runs before."""
        runs = dict(self.attempts)
        runs.pop(revision, None)
        runs[revision] = attempt + 1
        return replace(
            self.without_evidence(),
            since=now,
            challenger=revision,
            attempt=attempt,
            attempts=tuple(runs.items())[-ATTEMPTS_KEPT:],
            outcome=None,
            configuration=configuration,
            run=run,
        )

    def knowing(self, attempts: Iterable[Mapping[str, int]]) -> Self:
        """Return it with what records, oldest first, know of attempts."""
        runs: dict[str, int] = {}
        for known in (*attempts, dict(self.attempts)):
            for revision, number in known.items():
                # Anew, so that they are in the order in which they were tried last.
                runs[revision] = max(number, runs.pop(revision, 0))
        return replace(self, attempts=tuple(runs.items()))

    def runs_of(self, revision: str) -> int:
        """Return how many runs of `revision` there were."""
        return dict(self.attempts).get(revision, 0)

    def without_evidence(self) -> Self:
        """Forget what was measured."""
        return replace(
            self,
            step=0,
            weight=0,
            reached_at=None,
            evidence_from=None,
            served_since=None,
            paused_for=timedelta(0),
            counted_until=None,
            engine=None,
            verdict=None,
            probability_ok=None,
            samples=0,
            reach=Reach(),
            metrics=(),
            base_rates=(),
            unrecorded=(),
        )


def recorded(trajectory: Mapping[str, Any], progress: Progress) -> Manifest:
    """Return the trajectory on record with what it does not have yet."""
    known = replace(
        Trajectory.parse(trajectory),
        base_rates=dict(progress.base_rates),
        since=None if progress.served_since is None else progress.served_since.timestamp(),
    )
    return known.extended(map(Point.parse, progress.unrecorded)).render()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def text_of(time: datetime | None) -> str | None:
    """Return `time` as the API server writes it."""
    # Whole seconds: the API server prunes nothing of it, and what is read back is what was meant.
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _share(text: str | None) -> float | None:
    return None if text is None else float(text.removesuffix("%")) / 100
