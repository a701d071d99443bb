"""The document, the calls, the codes and the ledger agree with each other."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from shieldx.ledger.records import Code
from shieldx.sidecar import codes, openapi
from shieldx.sidecar.calls import CALLS
from shieldx.sidecar.router import REMEMBERED, Match, Mismatch, Router

DOCUMENT = json.loads(openapi.document())
SOURCES = Path(codes.__file__).parent


def test_every_answer_of_the_ledger_has_a_status() -> None:
    for code in Code:
        assert codes.status_of(code.value) in range(200, 600)


def test_every_code_that_the_api_names_has_a_status() -> None:
    text = "".join(path.read_text() for path in SOURCES.glob("*.py"))
    named = set(re.findall(r'(?:refuse|_turn_away|Refusal)\(\s*"([a-z_]+)"', text))

    assert len(named) > 10
    assert {codes.status_of(code) for code in named} <= {
        400,
        401,
        403,
        404,
        405,
        408,
        413,
        431,
        500,
        503,
        505,
    }


def test_fields_have_one_family_of_codes() -> None:
    assert codes.status_of("invalid_amount") == 400


def test_every_call_is_described_once() -> None:
    described = {
        (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }

    assert described == {(call.method, call.path) for call in CALLS}
    assert len({call.name for call in CALLS}) == len(CALLS)


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)):
        assert reference in DOCUMENT["components"]["schemas"]


def test_schemas_are_schemas() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_writes_need_a_key_and_reads_do_not() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            keyed = "Idempotency-Key" in [one["name"] for one in operation["parameters"]]
            assert keyed == (method != "get"), path


def test_integers_are_described_with_their_limits() -> None:
    amount = DOCUMENT["components"]["schemas"]["Transfer"]["properties"]["amount"]

    assert (amount["type"], amount["minimum"], amount["maximum"]) == ("integer", 1, 2**63 - 1)


def test_the_table_of_codes_has_a_line_for_each() -> None:
    table = codes.table()

    assert table.count("\n") == len(codes.CODES) + 2
    assert "| 402 | `insufficient_credits` | yes |" in table


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_every_call_is_found_by_its_method_and_path(call: object) -> None:
    from shieldx.sidecar.calls import Call  # noqa: PLC0415 — for the type only

    assert isinstance(call, Call)
    path = call.path.replace("{id}", "a%2Fb").replace("{grant}", "grant_s0_1")
    found = Router(CALLS).find(call.method.encode(), path.encode())

    assert isinstance(found, Match)
    assert found.call == call
    assert found.id == ("a/b" if "{id}" in call.path else "")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        (b"PUT", b"/v1/transfers", ("GET", "POST")),
        (b"GET", b"/v1/accounts/a/consume", ("POST",)),
        (b"GET", b"/v1/accounts/a/b", ()),
        (b"GET", b"/v1/accounts/shop/a/balance", ()),
        (b"GET", b"/v1/accounts//balance", ()),
        (b"GET", b"/v1/accounts/%00", ()),
        (b"GET", b"/v1/accounts/{id}", ()),
        (b"GET", b"", ()),
        (b"GET", b"*", ()),
    ],
)
def test_what_is_no_call_is_told_apart(
    method: bytes, target: bytes, allowed: tuple[str, ...]
) -> None:
    assert Router(CALLS).find(method, target) == Mismatch(allowed)


def test_a_path_is_found_again_by_its_own_method_only() -> None:
    router = Router(CALLS)
    paths = [b"/v1/accounts/%d" % number for number in range(REMEMBERED + 2)]
    for path in (*paths, *paths[:3]):
        found = router.find(b"GET", path)
        assert isinstance(found, Match)
        assert (found.call.name, found.id) == ("get_account", path.decode().rpartition("/")[2])

    changed = router.find(b"PATCH", paths[0])

    assert isinstance(changed, Match)
    assert changed.call.name == "change_account"
    assert router.find(b"POST", paths[0]) == Mismatch(("GET", "PATCH"))


def test_the_page_of_codes_is_the_map() -> None:
    page = Path(__file__).parents[3] / "docs" / "api-codes.md"

    assert page.read_text(encoding="utf-8") == codes.page(), "make docs"
