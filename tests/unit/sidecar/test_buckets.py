"""Token buckets over a clock that the test turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldx.sidecar.buckets import Ask, Claim, LocalBuckets, Rate, whole_seconds

SLOW = Rate(per_second=2.0, burst=4)


class Clock:
    """Seconds, by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(clock: Clock) -> LocalBuckets:
    return LocalBuckets(clock)


def ask(*claims: tuple[str, int]) -> Ask:
    return tuple(Claim(bucket, cost, SLOW) for bucket, cost in claims)


def test_a_burst_is_granted_and_then_the_rate(buckets: LocalBuckets, clock: Clock) -> None:
    assert [buckets.take(ask(("a", 1))) for _ in range(4)] == [(0.0,)] * 4

    (wait,) = buckets.take(ask(("a", 1)))
    assert wait == pytest.approx(0.5)
    clock.now += 0.5
    assert buckets.take(ask(("a", 1))) == (0.0,)
    assert buckets.take(ask(("a", 1))) != (0.0,)


def test_a_refusal_takes_nothing(buckets: LocalBuckets) -> None:
    buckets.take(ask(("a", 3)))

    assert buckets.take(ask(("a", 2))) != (0.0,)

    assert buckets.take(ask(("a", 1))) == (0.0,)


def test_what_is_needed_together_is_taken_together(buckets: LocalBuckets) -> None:
    buckets.take(ask(("account", 4)))

    client, account = buckets.take(ask(("client", 1), ("account", 1)))

    assert client == 0.0
    assert account > 0.0
    assert buckets.take(ask(("client", 4))) == (0.0,)


def test_asks_of_one_moment_stand_in_line(buckets: LocalBuckets, clock: Clock) -> None:
    buckets.take(ask(("busy", 3)))
    both = ask(("client", 1), ("busy", 1))

    answers = buckets.take_each([both, both, ask(("client", 3)), both])

    assert [answer.count(0.0) for answer in answers] == [2, 1, 1, 0]
    assert answers[1][1] == pytest.approx(0.5)
    clock.now += 0.5
    assert buckets.take_each([both, both])[0] == (0.0, 0.0)


def test_more_than_the_burst_waits_for_a_full_bucket_and_is_paid_for_later(
    buckets: LocalBuckets, clock: Clock
) -> None:
    assert buckets.take(ask(("a", 10))) == (0.0,)

    (wait,) = buckets.take(ask(("a", 1)))
    assert wait == pytest.approx(3.5)
    (wait,) = buckets.take(ask(("a", 10)))
    assert wait == pytest.approx(5.0)
    clock.now += wait
    assert buckets.take(ask(("a", 10))) == (0.0,)


def test_a_clock_that_goes_back_gives_and_takes_nothing(
    buckets: LocalBuckets, clock: Clock
) -> None:
    buckets.take(ask(("a", 4)))
    clock.now -= 100

    (wait,) = buckets.take(ask(("a", 1)))
    assert wait == pytest.approx(0.5)


def test_memory_is_bounded_and_the_longest_idle_makes_room(clock: Clock) -> None:
    buckets = LocalBuckets(clock, capacity=2)
    for name in ("a", "b", "a", "c"):
        buckets.take(ask((name, 2)))
        clock.now += 0.001

    assert len(buckets) == 2
    assert buckets.take(ask(("a", 1))) != (0.0,)
    assert buckets.take(ask(("b", 4))) == (0.0,)


def test_what_is_full_again_makes_room_before_all_others(clock: Clock) -> None:
    buckets = LocalBuckets(clock, capacity=4)
    for name in ("a", "b", "c", "d"):
        buckets.take(ask((name, 4 if name == "a" else 1)))
    clock.now += 1.0

    assert buckets.spend(ask(("e", 1)))

    assert len(buckets) == 2
    (wait,) = buckets.take(ask(("a", 3)))
    assert wait == pytest.approx(0.5)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 9)), max_size=60))
def test_the_rate_holds_over_any_time(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    buckets = LocalBuckets(clock)
    began, spent, largest = clock.now, 0, 0

    for pause, cost in steps:
        clock.now += pause
        if buckets.take(ask(("a", cost))) == (0.0,):
            spent += cost
            largest = max(largest, cost)

    most = SLOW.burst + SLOW.per_second * (clock.now - began)
    assert spent <= most + max(0, largest - SLOW.burst) + 1e-6


@given(
    st.lists(
        st.tuples(
            st.floats(-1, 3),
            st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), min_size=1),
        ),
        max_size=60,
    )
)
def test_the_short_way_spends_what_the_long_one_would(
    steps: list[tuple[float, dict[str, int]]],
) -> None:
    clock = Clock()
    short, long = LocalBuckets(clock, capacity=2), LocalBuckets(clock, capacity=2)

    for pause, costs in steps:
        clock.now += pause
        asked = ask(*costs.items())
        assert short.spend(asked) == (not any(long.take(asked)))


@pytest.mark.parametrize(("wait", "said"), [(0.001, 1), (1.0, 1), (1.2, 2), (59.01, 60)])
def test_retry_after_is_rounded_up(wait: float, said: int) -> None:
    assert whole_seconds(wait) == said
