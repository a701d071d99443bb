"""Whatever befalls a pod, its series and its scrapes: never is more counted than has happened."""

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto

from hypothesis import given, settings
from hypothesis import strategies as st

from shieldx.signals.buckets import Recorder
from shieldx.signals.readings import Pod, PodReadings, Problem, Reading, Scrape, Series, Trouble

START, TEN = 1_000_000.0, 10.0
LABELS = ("ok", "failed", "late")


class Fate(Enum):
    """What befalls the pod before it is read."""

    NOTHING = auto()
    RESTART = auto()  # Kubernetes says so
    INNER_RESTART = auto()  # of a process that a supervisor begins anew: nobody says so
    SIDECAR = auto()  # another container began anew
    SILENCE = auto()
    FORGETS = auto()  # the app removes a series, which begins anew with the next event


ROUND = st.tuples(
    st.sampled_from([Fate.NOTHING] * 4 + list(Fate)),
    st.lists(st.integers(0, 50), min_size=len(LABELS), max_size=len(LABELS)),
    st.sets(st.sampled_from(LABELS), max_size=1),  # what the page does not show
)


class Life:
    """A pod of the challenger, and what has really happened in it."""

    def __init__(self) -> None:
        self.pod = Pod("new", "new", "10.0.0.1", START - 1000, 0, ready=True)
        self.shows: Tally[str] = Tally()
        self.happened: Tally[str] = Tally()
        self.known = False

    def go_on(self, at: float, fate: Fate, events: Sequence[int]) -> None:
        """Let events happen, half of them before the pod meets its fate."""
        for half in (0, 1):
            for label, number in zip(LABELS, events, strict=True):
                if number:
                    self.shows[label] += number
                    self.happened[label] += number
            if half == 0:
                self._meet(at, fate)

    def _meet(self, at: float, fate: Fate) -> None:
        if fate in {Fate.RESTART, Fate.INNER_RESTART}:
            self.shows.clear()
        if fate is Fate.FORGETS:
            self.shows.pop("failed", None)
        if fate in {Fate.RESTART, Fate.SIDECAR}:
            self.pod = replace(self.pod, started_at=at - 5, restarts=self.pod.restarts + 1)

    def read(self, fate: Fate, hidden: set[str]) -> PodReadings:
        if fate is Fate.SILENCE:
            problem = Problem(Trouble.NOT_SCRAPED, "silence")
            return PodReadings(self.pod, {"errors": problem})
        # What is not shown at first is new when it is, and a restart together with a series that
        # is not shown looks like one of the app: nobody can tell.
        if fate is Fate.SIDECAR or not self.known:
            hidden = set()
        self.known = True
        series = {
            label: Series(n, bad=label != "ok")
            for label, n in self.shows.items()
            if label not in hidden
        }
        return PodReadings(self.pod, {"errors": Reading(series)})


@settings(max_examples=300, deadline=None)
@given(st.lists(ROUND, min_size=2, max_size=15))
def test_never_is_more_counted_than_has_happened(
    rounds: Sequence[tuple[Fate, list[int], set[str]]],
) -> None:
    life, recorder = Life(), Recorder(["errors"], TEN)
    old = Pod("old", "old", "10.0.0.1", 0.0, 0, ready=True)
    counted = bad = 0.0
    for number, (fate, events, hidden) in enumerate(rounds):
        at = START + number * TEN
        life.go_on(at, fate, events)
        steady = PodReadings(old, {"errors": Reading({"ok": Series(100.0 * number)})})
        recorder.add(Scrape({"old": steady}, {"new": life.read(fate, hidden)}), at)
        if number == 0:
            life.happened.clear()  # What was before the first round is in no bucket.
        for bucket in recorder.closed():
            if counts := bucket.metrics["errors"].counts:
                counted, bad = counted + counts[2], bad + counts[3]

    assert counted <= life.happened.total()
    assert bad <= life.happened["failed"] + life.happened["late"]
