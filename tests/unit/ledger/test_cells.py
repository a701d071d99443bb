"""Cells as binary COPY has them: made, taken apart, and compared by what they mean."""

from collections.abc import Mapping

import pytest

from shieldx.ledger.cells import Kind, difference, document, number, pairs, split, text

COLUMNS: Mapping[str, Kind] = {"id": Kind.TEXT, "amount": Kind.NUMBER, "metadata": Kind.JSON}


def row(*cells: bytes) -> bytes:
    return len(cells).to_bytes(2) + b"".join(cells)


def jsonb(said: str) -> bytes:
    return b"\x01" + said.encode()


def test_a_row_is_taken_apart_where_it_stands() -> None:
    one = row(text("ä"), number(-1), document(b"{}"))
    chunk = one + row(text(None), number(None)) + b"\xff\xff"

    cells, end = split(chunk)
    others, last = split(chunk, end)

    assert cells == ["ä".encode(), b"\xff" * 8, b"\x01{}"]
    assert end == len(one)
    assert others == [None, None]
    assert last == len(chunk) - 2


def test_documents_are_written_as_postgres_writes_them() -> None:
    said = b'{"a":[1,{"b":null,"\xc3\xa4":"\\u0001\\n"}],"bb":true,"c":"x"}'

    assert document(said)[4:] == jsonb(
        '{"a": [1, {"b": null, "ä": "\\u0001\\n"}], "c": "x", "bb": true}'
    )
    assert pairs([("g", 1), ("h", 2)])[4:] == jsonb('[["g", 1], ["h", 2]]')
    assert pairs([]) == text(None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
        ('{"a": 100}', '{"a": 1e2}'),
        ('{"a": [1.0]}', '{"a": [1]}'),
    ],
)
def test_json_of_one_meaning_is_no_difference(one: str, other: str) -> None:
    assert difference(COLUMNS, [b"a", None, jsonb(one)], [b"a", None, jsonb(other)]) is None


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ([b"b", bytes(8), jsonb("{}")], "id is 'b', must be 'a'"),
        ([b"a", None, jsonb("{}")], "amount is None, must be 0"),
        ([b"a", bytes(7) + b"\x01", jsonb("{}")], "amount is 1, must be 0"),
        ([b"a", bytes(8), jsonb('{"x": 1}')], "metadata is {'x': 1}, must be {}"),
        ([b"a", bytes(8), None], "metadata is None, must be {}"),
    ],
)
def test_the_cell_that_differs_is_named(stored: list[bytes | None], said: str) -> None:
    assert difference(COLUMNS, stored, [b"a", bytes(8), jsonb("{}")]) == said


@pytest.mark.parametrize(
    ("one", "other"), [('{"a": 1}', '{"a": true}'), ("[0]", "[false]"), ("[1]", "[1, 1]")]
)
def test_truth_is_no_number(one: str, other: str) -> None:
    found = difference({"metadata": Kind.JSON}, [jsonb(one)], [jsonb(other)])

    assert found is not None
