"""A spec with the CRD's defaults is read whole; durations are read as people write them."""

from datetime import timedelta

import pytest

from shieldx.resources.creditledger import Asset, Caller, DeletionPolicy, Scope
from shieldx.resources.durations import format_duration, parse_duration
from tests.support.ledgers import spec


def test_the_smallest_ledger_has_every_default() -> None:
    small = spec()

    assert small.asset == Asset("CREDIT", 0)
    assert [(s.name, s.storage, s.storage_class) for s in small.shards] == [("s0", "10Gi", None)]
    assert small.shards[0].resources["limits"] == {"memory": "1Gi"}
    assert (small.api_replicas, small.callers) == (2, ())
    assert (small.default_timeout, small.max_timeout) == (
        timedelta(minutes=15),
        timedelta(hours=24),
    )
    assert (small.paused, small.deletion_policy) == (False, DeletionPolicy.RETAIN)


def test_a_caller_without_prefixes_sees_all_accounts() -> None:
    callers = [
        {"namespace": "a", "name": "b", "scopes": ["read", "issue"]},
        {"namespace": "a", "name": "c", "scopes": ["write"], "accounts": ["x/"]},
    ]

    first, second = spec(api={"auth": {"serviceAccounts": callers}}).callers

    assert first == Caller("a", "b", frozenset({Scope.READ, Scope.ISSUE}), None)
    assert second.accounts == ("x/",)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_is_read(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("text", ["", "5", "5d", "-5s", "1.5h", "5m1h", " 5s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)
