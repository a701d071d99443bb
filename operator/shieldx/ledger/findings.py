"""What `verify` says: how far, and what does not fit."""

from dataclasses import dataclass
from typing import NamedTuple


class MismatchError(Exception):
    """What is stored does not follow from what was decided."""


class Finding(NamedTuple):
    """What does not fit, and the entry at which it shows."""

    position: int
    problem: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """How far the chain was known to reach by somebody outside of the database."""

    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """How much was verified, and the first problem, or None.

    `sealed` receipts were checked; `end` is what to record elsewhere; `receipt_at` is the entry
    whose receipt was asked for.
    """

    entries: int
    transfers: int
    accounts: int
    holds: int
    grants: int
    sealed: int
    problem: str | None
    end: Recorded | None = None
    receipt_at: int | None = None
