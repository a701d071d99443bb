"""The chain's bytes: every field counts, and none can run into the next."""

import pytest

from shieldx.ledger.chain import GENESIS, link

ENTRY: tuple[bytes, int, int, str, str | None, bytes, str, bytes] = (
    GENESIS, 1, 2, "caller", "key", b"{}", "created", b"{}",
)  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        (b"\x01" * 32, 1, 2, "caller", "key", b"{}", "created", b"{}"),
        (GENESIS, 2, 2, "caller", "key", b"{}", "created", b"{}"),
        (GENESIS, 1, 3, "caller", "key", b"{}", "created", b"{}"),
        (GENESIS, 1, 2, "callerk", "ey", b"{}", "created", b"{}"),
        (GENESIS, 1, 2, "caller", None, b"{}", "created", b"{}"),
        (GENESIS, 1, 2, "caller", "key", b"{ }", "created", b"{}"),
        (GENESIS, 1, 2, "caller", "key", b"{}", "create", b"d{}"),
        (GENESIS, 1, 2, "caller", "key", b"{}", "created", b"[]"),
    ],
)
def test_another_entry_has_another_hash(
    other: tuple[bytes, int, int, str, str | None, bytes, str, bytes],
) -> None:
    assert link(*other) != link(*ENTRY)


def test_the_bytes_never_change() -> None:
    """A chain that was written must verify for ever: this value may only get a sibling."""
    assert link(*ENTRY).hex() == PINNED
    assert link(GENESIS, 1, 2, "caller", None, b"{}", "created", b"{}").hex() == PINNED_WITHOUT_KEY


PINNED = "390162c5f284ba85a7785c915a4e200cae2a9dc24a21d6cae6c6fde4f886751b"
PINNED_WITHOUT_KEY = "382058d565832842612bfd67fe22e94e41eb7236f07bc4eb8dcfa20c6abd7628"
