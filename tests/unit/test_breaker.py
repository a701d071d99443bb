"""The breaker's table: every state, everything that can happen to it."""

import pytest

from shieldx.breaker import Breaker, Patience, State

PATIENCE = Patience(failures=2, rest_seconds=1.0, longest_rest_seconds=3.0)
NOW = 100.0


def breaker(state: State) -> Breaker:
    """A breaker that came to be in this state at NOW."""
    made = Breaker(PATIENCE)
    if state is not State.CLOSED:
        made.failed(NOW - 1)
        made.failed(NOW - 1 if state is State.HALF_OPEN else NOW)
    if state is State.HALF_OPEN:
        assert made.allows(NOW)
    assert made.state is state
    return made


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (State.CLOSED, "allows", State.CLOSED),
        (State.CLOSED, "succeeded", State.CLOSED),
        (State.CLOSED, "failed", State.CLOSED),
        (State.CLOSED, "failed twice", State.OPEN),
        (State.CLOSED, "failed, succeeded, failed", State.CLOSED),
        (State.OPEN, "allows", State.OPEN),
        (State.OPEN, "allows after the rest", State.HALF_OPEN),
        (State.OPEN, "succeeded", State.CLOSED),
        (State.OPEN, "failed", State.OPEN),
        (State.HALF_OPEN, "allows", State.HALF_OPEN),
        (State.HALF_OPEN, "allows after the rest", State.HALF_OPEN),
        (State.HALF_OPEN, "succeeded", State.CLOSED),
        (State.HALF_OPEN, "failed", State.OPEN),
    ],
)
def test_each_cell_of_the_table(before: State, event: str, after: State) -> None:
    one = breaker(before)

    match event:
        case "allows":
            assert one.allows(NOW) is (before is State.CLOSED)
        case "allows after the rest":
            assert one.allows(NOW + 1.0)
        case "succeeded":
            one.succeeded()
        case "failed":
            one.failed(NOW)
        case "failed twice":
            one.failed(NOW)
            one.failed(NOW)
        case _:
            one.failed(NOW)
            one.succeeded()
            one.failed(NOW)

    assert one.state is after


def test_a_half_open_breaker_lets_one_through() -> None:
    one = breaker(State.OPEN)

    assert [one.allows(NOW + 1.0) for _ in range(3)] == [True, False, False]


def test_a_trial_without_news_is_followed_by_another() -> None:
    one = breaker(State.HALF_OPEN)

    assert not one.allows(NOW + 0.9)
    assert one.allows(NOW + 1.0)


def test_each_failed_trial_doubles_the_rest_up_to_the_longest() -> None:
    one = breaker(State.OPEN)
    now, rests = NOW, []

    for _ in range(4):
        rests.append(one.retry_after(now))
        now += rests[-1]
        assert one.allows(now)
        one.failed(now)

    assert rests == [1.0, 2.0, 3.0, 3.0]
    assert one.opened == 5


def test_success_forgets_how_long_it_rested() -> None:
    one = breaker(State.HALF_OPEN)
    one.failed(NOW)
    assert one.retry_after(NOW) == 2.0

    one.succeeded()
    one.failed(NOW)
    one.failed(NOW)

    assert one.retry_after(NOW) == 1.0
    assert breaker(State.CLOSED).retry_after(NOW) == 0.0
