"""The page at `/docs`: the OpenAPI document for people, in one file that fetches nothing."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

METHODS: Final = ("get", "post", "put", "patch", "delete")
POLICY: Final = (
    b"content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
    b"x-content-type-options: nosniff\r\n"
)
HTML: Final = b"text/html; charset=utf-8"
STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.5 ui-monospace, monospace } pre { overflow-x: auto; padding: 1rem }
pre, summary:hover { background: #8881 } summary { cursor: pointer; padding: .4rem }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem .8rem .2rem 0;
vertical-align: top } details { border-top: 1px solid #8884 } :root { color-scheme: light dark }
details > :not(summary) { margin-left: 1rem }
"""


def page(document: bytes) -> bytes:
    """Render the document."""
    api = json.loads(document)
    calls = [
        (method, path, methods[method])
        for path, methods in api["paths"].items()
        for method in METHODS
        if method in methods
    ]
    title = escape(api["info"]["title"])
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>',
        f"<h1>{title}</h1><p>{_text(api['info']['description'])}</p>",
        '<p>For machines: <a href="openapi.json">openapi.json</a></p><h2>Calls</h2>',
        *(_call(*call) for call in calls),
        "<h2>Shapes</h2>",
        *(_shape(name, schema) for name, schema in api["components"]["schemas"].items()),
    ]
    return "".join(parts).encode()


def _call(method: str, path: str, operation: Mapping[str, Any]) -> str:
    inside = [f"<p>{_text(operation['description'])}</p>", _parameters(operation["parameters"])]
    if "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].values()
        inside.append(f"<p>Body: {_link(content['schema'])}</p>")
    inside.append(f"<table><tr><th>status<th>what it is{''.join(_answers(operation))}</table>")
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><code><b>{method.upper()}</b> '
        f"{escape(path)}</code> {_text(operation['summary'])}</summary>{''.join(inside)}</details>"
    )


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = (
        f"<tr><td><code>{escape(one['name'])}</code><td>{one['in']}"
        f"{', required' if one.get('required') else ''}<td>{_text(one.get('description', ''))}"
        f"<td><code>{escape(json.dumps(one['schema']))}</code>"
        for one in parameters
    )
    return f"<table><tr><th>parameter<th>where<th>what it is<th>form{''.join(rows)}</table>"


def _answers(operation: Mapping[str, Any]) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        shapes = (_link(content["schema"]) for content in answer.get("content", {}).values())
        yield f"<tr><td>{status}<td>{_text(answer['description'])} {' '.join(shapes)}"


def _link(schema: Mapping[str, Any]) -> str:
    name = escape(str(schema.get("$ref", "")).rpartition("/")[2])
    return f'<a href="#shape-{name}">{name}</a>' if name else ""


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return (
        f'<details id="shape-{escape(name)}"><summary><code>{escape(name)}</code> '
        f"{_text(schema.get('description', ''))}</summary><pre>{text}</pre></details>"
    )


def _text(text: str) -> str:
    """Show `code` as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
