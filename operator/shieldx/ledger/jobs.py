"""Jobs: requests and whom to tell; and how they travel between the processes of one ledger.

That is MessagePack. Operations are in normal form already, and the caller's rights have been judged
where the request came in; so what travels is what the batcher takes, and nothing is decided anew.
"""

from collections.abc import Callable, Sequence

import msgspec

from shieldx.ledger.operations import Operation
from shieldx.ledger.records import Answer, Request


class Job(Request, frozen=True, kw_only=True):
    """A request, and whom to tell.

    Dry: decided on what is durable, and forgotten. `done` gets one answer an operation, once,
    after they are durable; it must not raise.
    """

    done: Callable[[Sequence[Answer]], None]
    dry: bool = False

    def all(self, answer: Answer) -> None:
        """Answer every operation alike."""
        self.done([answer] * len(self.operations))


class SentJob(msgspec.Struct, frozen=True, array_like=True):
    """A `Job` without whom to tell; new fields come last and have defaults."""

    caller: str
    operations: list[Operation]
    keys: list[str | None]
    atomic: bool
    dry: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode_jobs = msgspec.msgpack.Decoder(list[SentJob]).decode
_decode_answers = msgspec.msgpack.Decoder(list[list[Answer]]).decode


class MangledError(ValueError):
    """These bytes are no jobs, or no answers to them."""


def encode_jobs(jobs: Sequence[Job]) -> bytes:
    """Return the bytes of jobs; whom to tell stays here."""
    return _encode(
        [
            SentJob(job.caller, list(job.operations), list(job.keys), job.atomic, job.dry)
            for job in jobs
        ]
    )


def decode_jobs(payload: bytes) -> list[SentJob]:
    """Return the jobs of these bytes, or raise MangledError."""
    try:
        return _decode_jobs(payload)
    except msgspec.DecodeError as error:
        raise MangledError(str(error)) from error


def encode_answers(answers: Sequence[Sequence[Answer]]) -> bytes:
    """Return the bytes of answers: one list a job."""
    return _encode(answers)


def decode_answers(payload: bytes) -> list[list[Answer]]:
    """Return the answers of these bytes, or raise MangledError."""
    try:
        return _decode_answers(payload)
    except msgspec.DecodeError as error:
        raise MangledError(str(error)) from error
