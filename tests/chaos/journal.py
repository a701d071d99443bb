"""What customers wrote down: every key before it was sent, every answer after it came.

One JSON line a fact, each written by one system call, so that the file is true up to its end
whatever becomes of the ledger. Times are nanoseconds of the machine's monotonic clock.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

# The same key asked again settles these; every other status is the answer for ever.
OPEN_STATUSES: Final = frozenset({500, 503})
SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """One answer to a key, and when it came."""

    at: int
    status: int
    replayed: bool
    body: dict[str, Any]

    @property
    def final(self) -> bool:
        return self.status not in OPEN_STATUSES

    @property
    def done(self) -> bool:
        return self.status < 300

    @property
    def code(self) -> str:
        return "created" if self.done else str(self.body.get("code"))


@dataclass(slots=True)
class Asked:
    """A key, what was asked under it, and everything that was answered."""

    key: str
    path: str
    body: dict[str, Any]
    sent: list[int] = field(default_factory=list)
    answers: list[Said] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)  # when a connection broke under it

    @property
    def outcome(self) -> Said | None:
        return next((said for said in self.answers if said.final), None)

    @property
    def statuses(self) -> set[int]:
        return {said.status for said in self.answers}

    def waits(self, moment: int) -> bool:
        """Return whether it was sent in the second before, and not answered for good by then."""
        outcome = self.outcome
        return any(moment - SECOND < at <= moment for at in self.sent) and (
            outcome is None or outcome.at > moment
        )

    def breaks(self, moment: int) -> bool:
        """Return whether it was on a connection that broke at that moment."""
        return any(abs(at - moment) < SECOND for at in self.lost)


@dataclass(frozen=True, slots=True)
class Read:
    """A balance that was read."""

    account: str
    began: int
    ended: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What made a client ask again: an answer that settles nothing, or none."""

    at: int
    port: int
    what: str


@dataclass(slots=True)
class Journal:
    """Everything that one load wrote down."""

    asked: dict[str, Asked] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    acknowledged: int = 0  # keys with a final answer
    read_bytes: int = 0

    def follow(self, path: Path) -> Self:
        """Read what was written since the last time, up to the last whole line."""
        with path.open("rb") as file:
            file.seek(self.read_bytes)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.read_bytes += len(whole)
        for line in whole.splitlines():
            self.take(json.loads(line))
        return self

    def take(self, fact: dict[str, Any]) -> None:
        """Add one line."""
        match str(fact["fact"]):
            case "sent":
                known = self.asked.get(fact["key"])
                if known is None:
                    known = Asked(fact["key"], fact["path"], fact["body"])
                    self.asked[known.key] = known
                known.sent.append(fact["at"])
            case "answered":
                said = Said(fact["at"], fact["status"], fact["replayed"], fact["body"])
                asked = self.asked[fact["key"]]
                self.acknowledged += said.final and asked.outcome is None
                asked.answers.append(said)
            case "lost":
                self.asked[fact["key"]].lost.append(fact["at"])
            case "read":
                self.reads.append(Read(fact["account"], fact["began"], fact["at"], fact["body"]))
            case "trouble":
                self.troubles.append(Trouble(fact["at"], fact["port"], fact["what"]))
            case "problem":
                self.problems.append(fact["text"])
            case other:
                raise ValueError(f"the journal has a line of an unknown kind: {other}")

    def open(self) -> Iterator[Asked]:
        """Return the keys that nobody knows the outcome of."""
        return (asked for asked in self.asked.values() if asked.outcome is None)

    def waiting(self, moment: int) -> int:
        """Count the keys that waited for an answer at that moment."""
        return sum(asked.waits(moment) for asked in self.asked.values())

    def in_flight(self, moment: int) -> int:
        """Count the keys that were on connections that broke at that moment."""
        return sum(asked.breaks(moment) for asked in self.asked.values())

    def longest_silence(self) -> float:
        """Return the longest time between two final answers, in seconds."""
        times = sorted(
            said.at for asked in self.asked.values() for said in asked.answers if said.final
        )
        return max((b - a for a, b in pairwise(times)), default=0) / SECOND


class Pen:
    """Writes a journal, a line at a time."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def sent(self, key: str, path: str, body: dict[str, Any]) -> None:
        self._write(fact="sent", key=key, path=path, body=body)

    def lost(self, key: str) -> None:
        self._write(fact="lost", key=key)

    def answered(self, key: str, status: int, body: dict[str, Any], *, replayed: bool) -> None:
        self._write(fact="answered", key=key, status=status, replayed=replayed, body=body)

    def read(self, account: str, began: int, body: dict[str, Any]) -> None:
        self._write(fact="read", account=account, began=began, body=body)

    def trouble(self, port: int, what: str) -> None:
        self._write(fact="trouble", port=port, what=what)

    def problem(self, text: str) -> None:
        self._write(fact="problem", text=text)

    def _write(self, **fact: Any) -> None:
        line = json.dumps({"at": time.monotonic_ns(), **fact}).encode() + b"\n"
        written = os.write(self._descriptor, line)
        assert written == len(line)
