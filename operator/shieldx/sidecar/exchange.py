"""One request and its answer: what a connection hands to a route, and what comes back.

Answers of one connection leave in the order of their requests, whoever is ready first; so an
exchange is also a place in line. It is answered once, at once or later, from a callback: the hot
path has no Task and no Future per request.
"""

import hashlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, Protocol

import msgspec

from shieldx.sidecar.codes import may_retry, status_of

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
BEARER: Final = b"bearer "
RETRY_AFTER: Final = b"retry-after: %d\r\n"

# Sorted, so that a stored answer that is replayed has the very bytes of the first one.
encode: Final = msgspec.json.Encoder(order="deterministic").encode


class Shown(msgspec.Struct, frozen=True, gc=False):
    """What a client shows of itself: the header, the Bearer token in it, the token's SHA-256."""

    authorization: bytes | None
    token: bytes | None
    digest: bytes

    @classmethod
    def read(cls, authorization: bytes | None) -> "Shown":
        """Read a header; there may be none, or one that shows no token."""
        token = bearer(authorization)
        return cls(authorization, token, hashlib.sha256(token or b"").digest())


def bearer(authorization: bytes | None) -> bytes | None:
    """Return the token of a Bearer authorization, or None."""
    if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
        return None
    return authorization[len(BEARER) :].strip() or None


class Line(Protocol):
    """Where an exchange waits for its turn.

    A client shows the same with every request: what its last one showed stands in `shown`, and
    goes with the connection.
    """

    shown: Shown | None

    def ready(self, exchange: "Exchange") -> None:
        """Take notice of an answer, and send what may be sent now."""


class Exchange:
    """A complete request, and the answer that it gets."""

    __slots__ = (
        "authorization",
        "body",
        "code",
        "content_type",
        "fields",
        "held",
        "key",
        "line",
        "match",
        "method",
        "on_answer",
        "payload",
        "query",
        "route",
        "started",
        "status",
        "target",
    )

    # What of these is not set here, is when the request is complete, found or answered.
    body: bytes
    content_type: bytes
    fields: bytes
    match: object
    query: bytes
    started: float
    target: bytes

    def __init__(self, line: Line, method: bytes) -> None:
        self.line = line
        self.method = method
        self.key: bytes | None = None
        self.authorization: bytes | None = None
        self.held = 0
        self.status = 0
        self.route = ""
        self.code = ""
        self.payload: bytes | None = None
        self.on_answer: Callable[[Exchange], None] | None = None

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return self.payload is not None

    def shown(self) -> Shown:
        """Return what the client shows with this request."""
        shown = self.line.shown
        if shown is None or shown.authorization != self.authorization:
            shown = self.line.shown = Shown.read(self.authorization)
        return shown

    def answer(
        self, status: int, payload: bytes, *, content_type: bytes = JSON, fields: bytes = b""
    ) -> None:
        """Answer with `payload`; `fields` are whole header lines, each with its line end."""
        if self.payload is not None:
            return
        self.status = status
        self.payload = payload
        self.content_type = content_type
        self.fields = fields
        if self.on_answer is not None:
            self.on_answer(self)
        self.line.ready(self)

    def refuse(
        self,
        code: str,
        message: str,
        facts: Mapping[str, object] | None = None,
        *,
        fields: bytes = b"",
        retry_after: int = 1,
    ) -> None:
        """Answer with a problem (RFC 9457) of the code's status: whose fault, and what to do."""
        status = status_of(code)
        if may_retry(code):
            fields += RETRY_AFTER % retry_after
        self.code = code
        payload = problem(status, code, message, facts or {})
        self.answer(status, payload, content_type=PROBLEM, fields=fields)

    def head(self) -> bytes:
        """Write the status line and the header fields but the ones that the connection adds."""
        length = len(self.payload or b"")
        template = _HEADS.get(self.status) or _status_line(self.status)
        return template % (self.content_type, length, self.fields)


def problem(status: int, code: str, message: str, facts: Mapping[str, object]) -> bytes:
    """Write a problem (RFC 9457), with the facts of its code beside the usual members."""
    return encode(
        {
            "type": f"urn:shieldx:problem:{code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "message": message,
            **facts,
        }
    )


def _status_line(status: int) -> bytes:
    phrase = HTTPStatus(status).phrase.encode()
    return (
        b"HTTP/1.1 %d %b\r\n" % (status, phrase)
        + b"content-type: %b\r\ncontent-length: %d\r\ncache-control: no-store\r\n%b"
    )


_HEADS: Final = {
    status: _status_line(status) for status in (200, 201, 400, 402, 404, 409, 429, 503)
}
