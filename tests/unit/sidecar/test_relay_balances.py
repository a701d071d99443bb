"""How new a remembered balance is, and that it never hides the relay's own write."""

import json
import random

import pytest

from shieldx.sidecar.relay.balances import Balances, left_by


def told(version: int) -> bytes:
    return json.dumps({"account": "a", "balance": version, "version": version}).encode()


def test_a_balance_is_remembered_for_a_second_since_it_was_asked_for() -> None:
    balances = Balances()

    assert balances.read("a", told(3), asked=10.0)
    assert balances.known("a", 11.0) == told(3)
    assert balances.known("a", 11.01) is None
    assert balances.known("b", 10.0) is None


def test_an_acknowledged_write_takes_older_balances_away() -> None:
    balances = Balances()
    balances.read("a", told(3), asked=10.0)
    balances.written({"a": 4}, now=10.1)

    assert balances.known("a", 10.1) is None
    # An answer that was on its way meanwhile is no better.
    assert not balances.read("a", told(3), asked=10.05)
    assert balances.read("a", told(4), asked=10.2)


def test_a_balance_as_new_as_the_write_stays() -> None:
    balances = Balances()
    balances.read("a", told(5), asked=10.0)
    balances.written({"a": 4, "b": 9}, now=10.1)

    assert balances.known("a", 10.2) == told(5)


def test_answers_of_writes_may_come_in_any_order() -> None:
    balances = Balances()
    balances.written({"a": 7}, now=10.0)
    balances.written({"a": 6}, now=10.1)

    assert not balances.read("a", told(6), asked=10.2)


def test_an_older_answer_does_not_replace_a_newer_one() -> None:
    balances = Balances()
    balances.read("a", told(5), asked=10.0)
    balances.read("a", told(4), asked=10.1)

    assert balances.known("a", 10.5) == told(5)


def test_what_was_forgotten_for_want_of_room_is_not_guessed() -> None:
    balances = Balances(capacity=2)
    for place, account in enumerate("abc"):
        balances.written({account: 5}, now=10.0 + place)

    # It is not known any more what the write of 10.0 changed: only later answers are believed.
    assert not balances.read("a", told(4), asked=9.9)
    assert balances.read("a", told(5), asked=10.1)
    assert not balances.read("c", told(4), asked=13.0)


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_reads_and_writes_shows_less_than_was_acknowledged(seed: int) -> None:
    dice = random.Random(seed)
    balances = Balances(capacity=3)
    truth = dict.fromkeys("abcde", 1)
    acknowledged = dict.fromkeys("abcde", 1)
    on_the_way: list[tuple[str, int, float]] = []
    now = 0.0
    for _ in range(2000):
        now += dice.random() / 10
        account = dice.choice("abcde")
        match dice.randrange(4):
            case 0:
                truth[account] += 1
                acknowledged[account] = truth[account]
                balances.written({account: truth[account]}, now=now)
            case 1:
                on_the_way.append((account, truth[account], now))
            case 2 if on_the_way:
                name, version, asked = on_the_way.pop(dice.randrange(len(on_the_way)))
                if balances.read(name, told(version), asked=asked):
                    assert version >= acknowledged[name]
            case _:
                known = balances.known(account, now)
                if known is not None:
                    assert json.loads(known)["version"] >= acknowledged[account]


@pytest.mark.parametrize(
    ("body", "versions"),
    [
        ({"id": "tx", "balances": {"a": {"version": 3}, "b": {"version": 1}}}, {"a": 3, "b": 1}),
        ({"id": "a", "version": 4, "state": "frozen"}, {"a": 4}),
        (
            {
                "results": [
                    {"status": 201, "balances": {"a": {"version": 3}}},
                    {"status": 402, "code": "insufficient_credits"},
                    {"status": 201, "balances": {"a": {"version": 2}}},
                ]
            },
            {"a": 3},
        ),
        ({"id": "note", "position": 4}, {}),
        ([1], {}),
    ],
)
def test_versions_are_found_in_the_answer_of_every_write(
    body: object, versions: dict[str, int]
) -> None:
    assert left_by(json.dumps(body).encode()) == versions
