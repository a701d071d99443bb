"""The breaker before the batcher: what opens it, what does not, and what it answers."""

from collections.abc import Sequence

import pytest

from shieldx.breaker import State
from shieldx.ledger.batcher import OVERLOADED, UNAVAILABLE, UNKNOWN
from shieldx.ledger.fuse import Fuse
from shieldx.ledger.jobs import Job
from shieldx.ledger.operations import Note
from shieldx.ledger.records import Answer, Code

DONE = Answer(Code.CREATED, {})
REFUSED = Answer(Code.INSUFFICIENT_CREDITS, {})


class Shard:
    """Answers every job with what it is told to."""

    def __init__(self) -> None:
        self.ready = False
        self.answer = DONE
        self.asked = 0
        # Jobs that it takes its time for, where it is asked to.
        self.held: list[Job] | None = None

    def submit(self, job: Job) -> None:
        self.asked += 1
        if self.held is None:
            job.all(self.answer)
        else:
            self.held.append(job)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def shard() -> Shard:
    return Shard()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fuse(shard: Shard, clock: Clock) -> Fuse:
    return Fuse(shard, monotonic=clock)


def answers(fuse: Fuse, jobs: int) -> list[Code]:
    told: list[Answer] = []

    def done(given: Sequence[Answer]) -> None:
        fuse.heard(given)
        told.extend(given)

    for number in range(jobs):
        note = Note(kind="test", digest="0" * 64)
        fuse.submit(Job("me", (note,), (f"k{number}",), atomic=False, done=done))
    return [answer.code for answer in told]


def test_a_shard_that_is_away_is_answered_for_at_once(fuse: Fuse, shard: Shard) -> None:
    shard.answer = UNAVAILABLE

    assert answers(fuse, 20) == [Code.SHARD_UNAVAILABLE] * 20

    assert shard.asked == 5
    assert fuse.breaker.state is State.OPEN


@pytest.mark.parametrize("answer", [UNKNOWN, OVERLOADED, DONE, REFUSED])
def test_nothing_else_opens_it_and_every_job_is_passed_on(
    fuse: Fuse, shard: Shard, answer: Answer
) -> None:
    shard.answer = answer

    assert answers(fuse, 20) == [answer.code] * 20

    assert shard.asked == 20
    assert fuse.breaker.state is State.CLOSED


def test_an_unknown_outcome_stays_unknown_between_failures(fuse: Fuse, shard: Shard) -> None:
    shard.answer = UNAVAILABLE
    answers(fuse, 4)
    shard.answer = UNKNOWN
    assert answers(fuse, 3) == [Code.OUTCOME_UNKNOWN] * 3
    assert not fuse.breaker.is_open

    shard.answer = UNAVAILABLE
    answers(fuse, 1)

    assert fuse.breaker.is_open


def test_after_a_rest_one_job_is_sent_ahead(fuse: Fuse, shard: Shard, clock: Clock) -> None:
    shard.answer = UNAVAILABLE
    answers(fuse, 5)
    clock.now += 0.5

    answers(fuse, 3)
    assert shard.asked == 6
    shard.answer = DONE
    clock.now += 1.0

    assert answers(fuse, 3) == [Code.CREATED] * 3
    assert fuse.breaker.state is State.CLOSED


def test_a_shard_that_is_back_by_itself_is_asked_at_once(fuse: Fuse, shard: Shard) -> None:
    shard.answer = UNAVAILABLE
    answers(fuse, 5)

    shard.answer, shard.ready = DONE, True

    assert answers(fuse, 2) == [Code.CREATED] * 2


def test_what_it_answers_itself_is_no_failure_of_the_one_that_was_sent_ahead(
    fuse: Fuse, shard: Shard, clock: Clock
) -> None:
    shard.answer = UNAVAILABLE
    answers(fuse, 5)
    shard.held = []
    clock.now += 0.5

    told = answers(fuse, 3)

    assert (len(shard.held), told) == (1, [Code.SHARD_UNAVAILABLE] * 2)
    assert not fuse.breaker.is_open
    shard.held[0].all(DONE)
    assert fuse.breaker.state is State.CLOSED
