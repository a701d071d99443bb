"""What the last batches brought to memory: the oldest of it makes room; pure.

Accounts and their open lots stay, since most batches touch some. Forgetting them together with
the rest would leave the batches after that nothing that could be decided without a look at the
database, for as long as it takes to meet every account again.
"""

from collections import deque
from collections.abc import Iterable, Sized

from shieldx.ledger.records import Changes, Hold, Key, Posted, Remembered, State

type _Brought = tuple[dict[Key, Remembered], dict[str, Posted], dict[str, Hold], dict[str, str]]


class Recent:
    """The last batches' keys, transfers, holds and references, at most so many rows of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows = 0
        self._batches: deque[_Brought] = deque()

    def add(self, changes: Changes) -> None:
        """Take note of what a batch that is durable has brought."""
        brought = changes.keys, changes.posted, changes.holds, changes.references
        self._batches.append(brought)
        self._rows += _size(brought)

    def make_room(self, state: State, undecided: Changes | None) -> None:
        """Forget the oldest, but for what a batch builds upon that is not stored yet."""
        while self._rows > self._most:
            brought = self._batches.popleft()
            self._rows -= _size(brought)
            keys, posted, holds, references = brought
            for key in keys:
                state.keys.pop(key, None)
            for reference in references:
                state.references.pop(reference, None)
            for transfer in posted:
                if undecided is None or transfer not in undecided.posted:
                    state.posted.pop(transfer, None)
            for hold in holds:
                if undecided is None or hold not in undecided.holds:
                    state.holds.pop(hold, None)


def _size(tables: Iterable[Sized]) -> int:
    return sum(map(len, tables))
