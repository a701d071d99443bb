"""A transfer's answer, which is no dictionary, is written like those that are."""

import pytest
from msgspec import Struct, to_builtins

from shieldx.ledger.records import Answer, Code, Figures, TransferBody
from shieldx.sidecar import answers
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.exchange import encode
from shieldx.sidecar.scopes import Scope

SHOPKEEPER = Caller("shop", frozenset({Scope.READ, Scope.WRITE}), ("shop/",))
WHOLE = TransferBody(
    amount=3,
    at=1_000_000,
    balances={"shop/a": Figures(4, 5, 1, 2), "system/revenue": Figures(9, 9, 0, 7)},
    burnt=[{"grant": "g1", "amount": 3}],
    credit="system/revenue",
    debit="shop/a",
    id="tx_s0_8",
    kind="consume",
    metadata={"z": 1, "a": [2]},
    reference="invoice",
    restored=[{"grant": "g2", "amount": 1}],
    reverses="tx_s0_7",
    seq=8,
)
PLAIN = TransferBody(
    amount=3,
    at=1_000_000,
    balances={},
    credit="system/revenue",
    debit="shop/a",
    id="tx_s0_8",
    kind="consume",
    metadata={},
    seq=8,
)


@pytest.mark.parametrize("shape", [TransferBody, answers.ShownTransfer, Figures])
def test_fields_are_in_the_order_of_their_names(shape: type[Struct]) -> None:
    assert list(shape.__struct_fields__) == sorted(shape.__struct_fields__)


@pytest.mark.parametrize("said", [WHOLE, PLAIN])
@pytest.mark.parametrize("receipt", ["k1.x", None])
def test_what_is_told_first_and_what_is_told_again_are_the_same_bytes(
    said: TransferBody, receipt: str | None
) -> None:
    first = Answer(Code.CREATED, said, receipt=receipt)
    again = Answer(Code.CREATED, to_builtins(said), receipt=receipt)

    assert encode(answers.result(SHOPKEEPER, first)) == encode(answers.result(SHOPKEEPER, again))
    assert answers.code_of(answers.result(SHOPKEEPER, first)) == "created"


def test_a_caller_sees_its_own_balances_and_the_time_as_text() -> None:
    shown = to_builtins(answers.result(SHOPKEEPER, Answer(Code.CREATED, WHOLE)))
    assert shown["balances"] == {"shop/a": {"available": 4, "balance": 5, "held": 1, "version": 2}}
    assert shown["at"] == "1970-01-01T00:00:01.000000Z"
    assert (shown["code"], shown["status"]) == ("created", 201)
