"""What the last batches brought to memory: the oldest of it makes room; pure.

Of answers and transfers few are kept, since a process works faster on little memory, and of what is
asked for again most is asked for soon. Of keys it stays known for long that they were used
(`UsedKeys`): whoever retries makes the batch look in the database, not fail there. Holds stay for
as long as people usually take to finish them. Accounts and their open lots stay altogether, since
most batches touch some: while one of them is not known, nothing can be decided ahead.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from shieldx.ledger.records import Changes, Key, State

# At most so many of each.
ANSWERS: Final = 500
HOLDS: Final = 100_000


class Names[T]:
    """The names that the last batches brought, batch by batch, at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._batches: deque[Sequence[T]] = deque()

    def add(self, names: Sequence[T]) -> None:
        if names:
            self._batches.append(names)
            self._count += len(names)

    def surplus(self) -> Iterator[T]:
        """Let go of the oldest batches until there are few enough, and return their names."""
        while self._count > self._most:
            names = self._batches.popleft()
            self._count -= len(names)
            yield from names


class Recent:
    """What of the last batches is still in a state."""

    def __init__(self, answers: int = ANSWERS, holds: int = HOLDS) -> None:
        self._keys = Names[Key](answers)
        self._transfers = Names[str](answers)
        self._references = Names[str](answers)
        self._holds = Names[str](holds)

    def add(self, changes: Changes) -> None:
        """Take note of what a batch that is durable has brought."""
        self._keys.add(tuple(changes.keys))
        self._transfers.add(tuple(changes.posted))
        self._references.add(tuple(changes.references))
        self._holds.add(tuple(changes.holds))

    def make_room(self, state: State) -> None:
        """Forget the oldest, which nothing that is being decided may build upon."""
        for key in self._keys.surplus():
            state.keys.pop(key, None)
            state.used.add(key)
        for reference in self._references.surplus():
            state.references.pop(reference, None)
        for transfer in self._transfers.surplus():
            state.posted.pop(transfer, None)
        for hold in self._holds.surplus():
            state.holds.pop(hold, None)
