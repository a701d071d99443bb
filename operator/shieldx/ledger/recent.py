"""What the last batches brought to memory: the oldest of it makes room; pure.

Accounts and their open lots stay, since most batches touch some. Forgetting them together with
the rest would leave the batches after that nothing that could be decided without a look at the
database, for as long as it takes to meet every account again.
"""

from collections import deque
from typing import NamedTuple

from shieldx.ledger.records import Changes, Key, State


class _Brought(NamedTuple):
    """The names of what one batch has brought."""

    keys: tuple[Key, ...]
    transfers: tuple[str, ...]
    holds: tuple[str, ...]
    references: tuple[str, ...]

    @property
    def rows(self) -> int:
        return sum(map(len, self))


class Recent:
    """The last batches' keys, transfers, holds and references, at most so many rows of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows = 0
        self._batches: deque[_Brought] = deque()

    def add(self, changes: Changes) -> None:
        """Take note of what a batch that is durable has brought."""
        brought = _Brought(
            tuple(changes.keys),
            tuple(changes.posted),
            tuple(changes.holds),
            tuple(changes.references),
        )
        self._batches.append(brought)
        self._rows += brought.rows

    def make_room(self, state: State, unstored: Changes | None) -> None:
        """Forget the oldest, but for what a batch builds upon that is not stored yet."""
        while self._rows > self._most:
            brought = self._batches.popleft()
            self._rows -= brought.rows
            for key in brought.keys:
                state.keys.pop(key, None)
            for reference in brought.references:
                state.references.pop(reference, None)
            for transfer in brought.transfers:
                if unstored is None or transfer not in unstored.posted:
                    state.posted.pop(transfer, None)
            for hold in brought.holds:
                if unstored is None or hold not in unstored.holds:
                    state.holds.pop(hold, None)
