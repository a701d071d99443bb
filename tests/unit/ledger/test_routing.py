"""Where a write is decided: every case of what can be known of the writer."""

import pytest

from shieldx.ledger.routing import (
    END_AFTER_SECONDS,
    Holder,
    Role,
    Silence,
    View,
    role,
    to_end,
    unanswered,
)

HERE, THERE = "10.0.0.1:5006", "10.0.0.2:5006"
OTHER = Holder(7, THERE)
SELF = Holder(7, HERE)
SILENT = Silence(7, 100.0)
LONG_AGO = Silence(6, 1.0)


def seen(silence: Silence | None) -> View:
    return View(mine=False, holder=OTHER, address=HERE, silence=silence)


@pytest.mark.parametrize(
    ("mine", "holder", "silence", "expected"),
    [
        (True, None, None, Role.WRITER),
        (True, OTHER, SILENT, Role.WRITER),
        (False, None, None, Role.GUARD),
        (False, None, SILENT, Role.GUARD),
        (False, OTHER, None, Role.RELAY),
        (False, OTHER, SILENT, Role.GUARD),
        (False, OTHER, LONG_AGO, Role.RELAY),
        (False, SELF, None, Role.GUARD),
        (False, SELF, LONG_AGO, Role.GUARD),
    ],
)
def test_where_the_next_write_goes(
    *, mine: bool, holder: Holder | None, silence: Silence | None, expected: Role
) -> None:
    assert role(View(mine, holder, HERE, silence)) is expected


@pytest.mark.parametrize(
    ("mine", "holder", "silence", "now", "expected"),
    [
        (False, OTHER, SILENT, 100.0 + END_AFTER_SECONDS, 7),
        (False, OTHER, SILENT, 99.9 + END_AFTER_SECONDS, None),
        (False, OTHER, LONG_AGO, 1000.0, None),
        (False, OTHER, None, 1000.0, None),
        (False, None, SILENT, 1000.0, None),
        (True, OTHER, SILENT, 1000.0, None),
    ],
)
def test_only_the_writer_that_has_long_been_silent_is_ended(
    *,
    mine: bool,
    holder: Holder | None,
    silence: Silence | None,
    now: float,
    expected: int | None,
) -> None:
    assert to_end(View(mine, holder, HERE, silence), now) == expected


def test_silence_begins_with_the_first_unanswered_call_of_an_epoch() -> None:
    first = unanswered(seen(None), 7, 100.0)
    second = unanswered(seen(first), 7, 103.0)
    of_the_next = unanswered(seen(second), 8, 104.0)

    assert (first, second, of_the_next) == (SILENT, SILENT, Silence(8, 104.0))
