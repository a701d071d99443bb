"""Jobs on the wire: nothing of them is lost, and what is mangled is refused."""

import pytest

from shieldx.ledger.jobs import (
    Job,
    MangledError,
    SentJob,
    decode_answers,
    decode_jobs,
    encode_answers,
    encode_jobs,
)
from shieldx.ledger.operations import Commit, OpenAccount, Operation, Settle, Transfer, canonical
from shieldx.ledger.records import Answer, Code


def test_a_job_travels_with_all_that_it_is_but_whom_to_tell() -> None:
    operations: list[Operation] = [
        OpenAccount(id="a", floor=None, metadata={"z": [1, {"y": None}], "a": "ü"}),
        Transfer(debit="a", credit="b", amount=2**63 - 1, reference="r"),
        Commit(hold="h", amount=None, final=False),
        Settle(account="a"),
    ]
    job = Job("who", operations, ("k", None, "l", "m"), atomic=False, done=print, dry=True)

    (sent,) = decode_jobs(encode_jobs([job]))

    assert sent == SentJob("who", operations, ["k", None, "l", "m"], atomic=False, dry=True)
    assert [*map(canonical, sent.operations)] == [*map(canonical, operations)]
    assert {*Job.__struct_fields__} - {"done"} == set(SentJob.__struct_fields__)


def test_answers_travel_whole() -> None:
    answers = [
        [Answer(Code.CREATED, {"balances": {"a": {"held": -5}}}, replayed=True, receipt="r:1")],
        [Answer(Code.ACCOUNT_CLOSED, {"message": "closed"}), Answer(Code.BATCH_ABORTED, {})],
    ]

    assert decode_answers(encode_answers(answers)) == answers


@pytest.mark.parametrize("payload", [b"", b"{}", b"\x91\x93\xa1x\x91\x01\x90", b"\xff" * 9])
def test_what_is_mangled_is_refused(payload: bytes) -> None:
    with pytest.raises(MangledError):
        decode_jobs(payload)
    with pytest.raises(MangledError):
        decode_answers(payload)
