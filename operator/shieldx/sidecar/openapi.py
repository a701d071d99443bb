"""The OpenAPI 3.1 document, generated from the calls, their shapes and the map of codes."""

from typing import Any, Final

import msgspec

from shieldx.sidecar import wire_answers
from shieldx.sidecar.calls import CALLS, Call
from shieldx.sidecar.codes import CODES

API_VERSION: Final = "1"
PROBLEM: Final = "application/problem+json"
QUERY: Final[dict[str, dict[str, Any]]] = {
    "cursor": {"description": "`next` of the page before.", "schema": {"type": "string"}},
    "limit": {
        "description": "Items of a page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    },
    "reference": {
        "description": "The caller's own id of a transfer.",
        "schema": {"type": "string"},
        "required": True,
    },
    "account": {
        "description": "Whose holds.",
        "schema": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$"},
        "required": True,
    },
    "dry_run": {
        "description": "Check everything, answer as if done, and do nothing: ids in the answer "
        "begin with `dry_`, and the key stays unused.",
        "schema": {"type": "boolean", "default": False},
    },
    "prefix": {
        "description": "How the ids begin.",
        "schema": {"type": "string", "pattern": r"^([A-Za-z0-9][A-Za-z0-9._:@/-]{0,127})?$"},
    },
    "at": {
        "description": "A past moment: the figures right after the last change up to it.",
        "schema": {"type": "string", "format": "date-time"},
    },
    "from": {
        "description": "Movements from this time on only.",
        "schema": {"type": "string", "format": "date-time"},
    },
    "to": {
        "description": "Movements before this time only.",
        "schema": {"type": "string", "format": "date-time"},
    },
    "wait": {
        "description": "Seconds to wait for an event if there is none.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 30, "default": 0},
    },
    "include": {
        "description": "Refusals as well: their types end in the code instead of `created`.",
        "schema": {"type": "string", "enum": ["refusals"]},
    },
}
STATES: Final[dict[str, dict[str, Any]]] = {
    name: {"description": "In this state only.", "schema": {"type": "string", "enum": states}}
    for name, states in {
        "list_accounts": ["open", "frozen", "closed"],
        "list_holds": ["held", "committed", "voided", "expired"],
        "list_grants": ["pending", "active", "exhausted", "expired", "voided"],
    }.items()
}
ALWAYS: Final = ("unauthenticated", "unknown_caller", "missing_scope", "rate_limited", "invalid_…")
WRITES: Final = ("idempotency_key_reused", "outcome_unknown")
UNAVAILABLE: Final = ("overloaded", "shard_unavailable", "authentication_unavailable")


def document() -> bytes:
    """Render the document."""
    shapes = [call.body for call in CALLS if call.body] + [call.answer for call in CALLS]
    shapes = list(dict.fromkeys([*shapes, wire_answers.Problem]))
    schemas, components = msgspec.json.schema_components(
        shapes, ref_template="#/components/schemas/{name}"
    )
    references = dict(zip(shapes, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, references)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "ShieldX credit ledger",
                "version": API_VERSION,
                "description": "Amounts are integers of 10^-scale. Writes carry an "
                "`Idempotency-Key`: the same key and operation give the same answer again.",
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "serviceAccount": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A Kubernetes service-account token of audience shieldx.",
                    }
                },
            },
            "security": [{"serviceAccount": []}],
        }
    )


def _operation(call: Call, references: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "description": f"Needs scope `{call.scope}`." if call.scope else "",
        "parameters": _parameters(call),
        "responses": _responses(call, references),
    }
    if call.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": references[call.body]}},
        }
    return operation


def _parameters(call: Call) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    if "{id}" in call.path:
        parameters.append(
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "Percent-encoded.",
                "schema": {"type": "string"},
            }
        )
    if "{grant}" in call.path:
        parameters.append(
            {"name": "grant", "in": "path", "required": True, "schema": {"type": "string"}}
        )
    query = call.query
    if call.writes:
        query = (*query, "dry_run")
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    described = {**QUERY, "state": STATES[call.name]} if call.name in STATES else QUERY
    parameters += [{"name": name, "in": "query", **described[name]} for name in query]
    return parameters


def _responses(call: Call, references: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    codes = (*call.codes, *ALWAYS, *(WRITES if call.writes else ()), *UNAVAILABLE)
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    responses: dict[str, Any] = {
        str(call.status): {
            "description": "Done.",
            "content": {"application/json": {"schema": references[call.answer]}},
        }
    }
    for status, names in sorted(by_status.items()):
        if status == call.status:
            continue
        responses[str(status)] = {
            "description": "; ".join(f"`{name}`: {CODES[name].meaning}" for name in names),
            "content": {PROBLEM: {"schema": references[wire_answers.Problem]}},
        }
    return responses
