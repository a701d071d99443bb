"""Bodies have one meaning or none."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldx.sidecar import wire
from shieldx.sidecar.decoding import (
    ShapeError,
    TooManyOperationsError,
    decode,
    decode_batch,
    refuse_ambiguity,
)
from shieldx.sidecar.whereabouts import field_of

TRANSFER = msgspec.json.Decoder(wire.Transfer)
COMMIT = msgspec.json.Decoder(wire.Commit)
OPEN = msgspec.json.Decoder(wire.OpenAccount)
GRANT = msgspec.json.Decoder(wire.Grant)
CHANGE = msgspec.json.Decoder(wire.ChangeAccount)


def transfer(amount: str = "5", more: str = "") -> bytes:
    return b'{"debit": "a", "credit": "b", "amount": %b%b}' % (amount.encode(), more.encode())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_debit"),
        (b"[]", "invalid_body"),
        (b"null", "invalid_body"),
        (b'"text"', "invalid_body"),
        (b"{", "invalid_body"),
        (b"\xff", "invalid_body"),
        (transfer() + b"x", "invalid_body"),
        (b"\xef\xbb\xbf" + transfer(), "invalid_body"),
        (transfer("1.0"), "invalid_amount"),
        (transfer("1.5"), "invalid_amount"),
        (transfer("1e3"), "invalid_amount"),
        (transfer("NaN"), "invalid_amount"),
        (transfer("-Infinity"), "invalid_amount"),
        (transfer("true"), "invalid_amount"),
        (transfer('"5"'), "invalid_amount"),
        (transfer("null"), "invalid_amount"),
        (transfer("0"), "invalid_amount"),
        (transfer("-0"), "invalid_amount"),
        (transfer("-1"), "invalid_amount"),
        (transfer("05"), "invalid_amount"),
        (transfer("9223372036854775808"), "invalid_amount"),
        (transfer("9" * 400), "invalid_amount"),
        (transfer("9" * 10_000), "invalid_amount"),
        (transfer("5", ', "surprise": 1'), "invalid_surprise"),
        (transfer("5", ', "Surprise\\n": 1'), "invalid_field"),
        (transfer("5", ', "amount": 6'), "invalid_amount"),
        (transfer("5", ', "am\\u006funt": 6'), "invalid_amount"),
        (transfer("5", ', "debit": "a"'), "invalid_debit"),
        (b'{"credit": "b", "amount": 1}', "invalid_debit"),
        (b'{"debit": "", "credit": "b", "amount": 1}', "invalid_debit"),
        (b'{"debit": "-a", "credit": "b", "amount": 1}', "invalid_debit"),
        (b'{"debit": "a\\n", "credit": "b", "amount": 1}', "invalid_debit"),
        (b'{"debit": "a", "credit": "\xff", "amount": 1}', "invalid_credit"),
        (b'{"debit": "a", "credit": "\\ud800", "amount": 1}', "invalid_credit"),
        (b'{"debit": "a", "cre\xffdit": "b", "amount": 1}', "invalid_body"),
        (b'{"debit": "a", "credit": "b", "amount": 1,}', "invalid_body"),
        (b'{"debit": "%b", "credit": "b", "amount": 1}' % (b"a" * 129), "invalid_debit"),
        (transfer("5", ', "kind": "Bad Kind"'), "invalid_kind"),
        (transfer("5", ', "kind": null'), "invalid_kind"),
        (transfer("5", ', "reference": ""'), "invalid_reference"),
        (transfer("5", ', "reference": "a\\nb"'), "invalid_reference"),
        (transfer("5", ', "metadata": []'), "invalid_metadata"),
        (transfer("5", ', "metadata": {"a": 1.5}'), "invalid_metadata"),
        (transfer("5", ', "metadata": {"a": [{"b": 1e2}]}'), "invalid_metadata"),
        (transfer("5", ', "metadata": {"a": 1e999}'), "invalid_metadata"),
        (transfer("5", ', "metadata": {"a": 9223372036854775808}'), "invalid_metadata"),
        (transfer("5", ', "metadata": {"a": "\\u0000"}'), "invalid_metadata"),
        (transfer("5", ', "metadata": {"\\u0000": 1}'), "invalid_metadata"),
        (transfer("5", ', "metadata": {"a": 1, "a": 2}'), "invalid_a"),
        (transfer("5", ', "metadata": {"a": "%s"}' % ("x" * 4096)), "invalid_metadata"),
        (transfer("5", ', "metadata": {"a": %s}' % ("[" * 20 + "]" * 20)), "invalid_metadata"),
        (
            transfer("5", ', "metadata": {"a": %s}' % ("[" * 99999 + "]" * 99999)),
            "invalid_metadata",
        ),
        (b"[" * 99999 + b"]" * 99999, "invalid_body"),
        (transfer("5", ', "metadata": {"x": ["\\\\", {"a": nan}]}'), "invalid_metadata"),
        (transfer("5", ', "metadata": {"x": {"a": 1}}, "kind": "\\x"'), "invalid_kind"),
        (transfer("NaN", ', "metadata": {}').replace(b" ", b" " * 4000), "invalid_amount"),
    ],
)
def test_a_malformed_transfer_is_refused_by_the_name_of_its_field(body: bytes, code: str) -> None:
    with pytest.raises(ShapeError) as refused:
        decode(body, TRANSFER)

    assert refused.value.code == code


def test_a_whole_transfer_is_read() -> None:
    body = transfer(
        "9223372036854775807",
        ', "kind": "order", "reference": "o 7", "metadata": {"a": [1, true, null, "é"]}',
    )

    decoded = decode(body, TRANSFER)

    assert decoded.amount == 2**63 - 1
    assert decoded.metadata == {"a": [1, True, None, "é"]}


def test_colons_in_values_are_no_second_keys() -> None:
    decoded = decode(b'{"debit": "a:b", "credit": "c:d", "amount": 1}', TRANSFER)

    assert (decoded.debit, decoded.credit) == ("a:b", "c:d")


def test_an_empty_body_is_an_empty_object() -> None:
    assert decode(b"", COMMIT) == wire.Commit()
    assert decode(b'{"final": true}', COMMIT) == wire.Commit()


@pytest.mark.parametrize(
    "body",
    [b'{"id": "a", "floor": null}', b'{"id": "a", "floor": 1}', b'{"id": "a", "floor": 0.5}'],
)
def test_a_floor_is_an_integer_of_zero_or_less(body: bytes) -> None:
    with pytest.raises(ShapeError, match="floor"):
        decode(body, OPEN)


def test_a_state_is_one_of_three() -> None:
    with pytest.raises(ShapeError, match="state"):
        decode(b'{"state": "gone"}', CHANGE)


def test_a_malformed_operation_harms_only_itself() -> None:
    body = b"""{"operations": [
        {"type": "consume", "account": "a", "amount": 1, "idempotency_key": "k"},
        {"type": "consume", "account": "a", "amount": 1.0},
        {"type": "mint", "account": "a"},
        {"type": "transfer", "debit": "a", "credit": "b", "amount": 1, "metadata": {"a": 0.1}},
        {"account": "a", "amount": 1},
        7,
        {"type": "void", "hold": "h"}
    ]}"""

    atomic, items = decode_batch(body)

    assert not atomic
    assert items[0] == wire.ConsumeItem(account="a", amount=1, idempotency_key="k")
    codes = [item.code for item in items if isinstance(item, ShapeError)]
    assert codes == [
        "invalid_amount",
        "invalid_type",
        "invalid_metadata",
        "invalid_type",
        "invalid_body",
    ]
    assert items[6] == wire.VoidItem(hold="h")


@pytest.mark.parametrize(
    "body",
    [
        b'{"operations": []}',
        b"{}",
        b'{"operations": 5}',
        b'{"operations": [{"type": "void", "hold": "h", "hold": "h"}]}',
        b'{"operations": [{"type": "void", "hold": "h"}], "atomic": 1}',
        b'{"operations": [{"type": "void", "hold": "h"}], "atomic": true, "atomic": false}',
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(ShapeError):
        decode_batch(body)


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (b'{"type": "consume", "account": "a", "amount": NaN}', "invalid_amount"),
        (b'{"type": "consume", "account": "\xff", "amount": 1}', "invalid_account"),
        (b'{"type": "void", "hold": "h", "hold": "h"}', "invalid_hold"),
        (b'{"metadata": %b}' % (b"[" * 99999 + b"]" * 99999), "invalid_metadata"),
        (b"NaN", "invalid_body"),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused_by_the_field_of_its_operation(
    item: bytes, code: str
) -> None:
    with pytest.raises(ShapeError) as refused:
        decode_batch(b'{"operations": [{"type": "void", "hold": "h"}, %b]}' % item)

    assert refused.value.code == code


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (b'{"type": "void", "hold": NaN}', "invalid_hold"),
        (b'{"type": "void", "hold": "\xff"}', "invalid_hold"),
        (b'{"type": "void", "metadata": {"a": [01]}}', "invalid_metadata"),
        (b'{"type": "void", "hold": "h",}', "invalid_body"),
    ],
)
@pytest.mark.parametrize("count", [300, 999])
def test_the_field_is_named_of_the_last_of_many_operations_too(
    item: bytes, code: str, count: int
) -> None:
    before = b'{"type": "consume", "account": "a\\"{", "amount": 1, "metadata": {"n": [1, "]"]}},'
    with pytest.raises(ShapeError) as refused:
        decode_batch(b'{"operations": [%b%b]}' % (before * count, item))

    assert refused.value.code == code


@pytest.mark.parametrize("filling", [b"1,", b'"",', b"[],", b"{}  ,"])
def test_nobody_is_told_the_field_who_makes_it_hard_to_find(filling: bytes) -> None:
    body = b'{"metadata": [%bNaN]}' % (filling * 400_000)

    assert field_of(body, msgspec.DecodeError(f"(byte {len(body) - 5})")) == "body"


@pytest.mark.parametrize("item", ['{"type": "void", "hold": "h"}', "7"])
def test_a_batch_has_an_end(item: str) -> None:
    body = f'{{"operations": [{",".join([item] * 1001)}]}}'

    with pytest.raises(TooManyOperationsError):
        decode_batch(body.encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        decoded = decode(body, TRANSFER)
    except ShapeError:
        return
    assert 1 <= decoded.amount <= wire.MAX_AMOUNT


FIELDS = st.sampled_from(
    [
        '"amount":7',
        '"am\\u006funt": 6',
        '"priority":0',
        '"priority" : 3',
        '"effective_at":"2026-01-31T12:00:00+0100"',
        '"effective_at":"2026-01-31T12:00:00Z"',
        '"expires_at":"2027-01-31T12:00:00-00:00"',
        '"metadata":{}',
        '"metadata":{"a:b":"c","d":{"e":1}}',
        '"metadata":{"a":"\\u0022","a":1}',
        '"metadata":{"a":[{"b":1,"b":1}]}',
        '"metadata":{"a":"\\":"}',
    ]
)


def is_refused(look: Callable[[], object]) -> bool:
    try:
        look()
    except ShapeError:
        return True
    return False


@given(st.lists(FIELDS, max_size=5))
def test_a_glance_finds_no_fewer_keys_that_are_given_twice(fields: list[str]) -> None:
    body = ",".join(['{"amount" :4', *fields]).encode() + b"}"
    batch = b'{"operations":[{"type":"grant","account":"a",%b]}' % body[1:]

    twice = is_refused(lambda: refuse_ambiguity(body))

    assert is_refused(lambda: decode(body, GRANT)) == twice
    assert is_refused(lambda: decode_batch(batch)) == twice
