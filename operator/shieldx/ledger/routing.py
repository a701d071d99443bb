"""Where a write is decided: here as the shard's writer, by the writer, or here under the guard.

Pure. All three are right, since `store` refuses what was decided on old state; which one it is
decides only how fast it is.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

END_AFTER_SECONDS: Final = 5.0


class Role(StrEnum):
    """What this process is to its shard at this moment."""

    WRITER = "writer"  # decides and stores, for the others too
    RELAY = "relay"  # hands its writes to the writer
    GUARD = "guard"  # decides and stores beside a writer that is unknown or silent


@dataclass(frozen=True, slots=True)
class Holder:
    """The process whose session holds the shard's lock; every change of hands is an epoch."""

    epoch: int
    address: str


@dataclass(frozen=True, slots=True)
class Silence:
    """When the writer of an epoch was asked first what it has not answered."""

    epoch: int
    since: float


@dataclass(frozen=True, slots=True)
class View:
    """What this process knows of its shard's writer; `address` is its own, None if it has none."""

    mine: bool
    holder: Holder | None
    address: str | None
    silence: Silence | None


def role(view: View) -> Role:
    """Decide where the next write goes."""
    if view.mine:
        return Role.WRITER
    if view.holder is None or _silent(view) or _left_behind(view):
        return Role.GUARD
    return Role.RELAY


def to_end(view: View, now: float) -> int | None:
    """Return the epoch whose sessions must be ended, so that there can be a writer again."""
    if view.mine or view.holder is None:
        return None
    if view.silence is not None and _silent(view) and now - view.silence.since >= END_AFTER_SECONDS:
        return view.holder.epoch
    return None


def unanswered(view: View, epoch: int, now: float) -> Silence:
    """Note that what the writer of `epoch` was asked `now` got no answer; the first one counts."""
    if view.silence is not None and view.silence.epoch == epoch:
        return view.silence
    return Silence(epoch, now)


def _silent(view: View) -> bool:
    return (
        view.silence is not None
        and view.holder is not None
        and view.silence.epoch == view.holder.epoch
    )


def _left_behind(view: View) -> bool:
    """Whether the lock is held by a session that this very process has lost.

    Postgres ends that one by itself, within the `tcp_user_timeout` of every session.
    """
    return view.holder is not None and view.holder.address == view.address
