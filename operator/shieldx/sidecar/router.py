"""From method and path to the call that is meant, by dictionaries only."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from shieldx.sidecar.calls import Call

PLACE: Final = b"{id}"
GRANT_PLACE: Final = b"{grant}"
GRANT_PARTS: Final = 6
# Every id that can exist, of accounts, holds and transfers: nothing else gets as far as a query.
IDENTITY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}")
# Only what can be an id is remembered, so this bounds bytes as well.
REMEMBERED: Final = 16_384


class Match(msgspec.Struct, frozen=True, gc=False):
    """The call that a request is, and the decoded `{id}` and `{grant}` of its path."""

    call: Call
    id: str = ""
    grant: str = ""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """There is no such path (nothing is allowed), or it does not take the method."""

    allowed: tuple[str, ...] = ()


class Router:
    """Finds calls; a path is cut at its slashes before it is decoded."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._fixed: dict[bytes, dict[bytes, Match]] = {}
        self._open: dict[tuple[bytes, ...], dict[bytes, Call]] = {}
        self._found: dict[tuple[bytes, bytes], Match] = {}
        for call in calls:
            path, method = call.path.encode(), call.method.encode()
            if PLACE in path:
                self._open.setdefault(tuple(path.split(b"/")), {})[method] = call
            else:
                self._fixed.setdefault(path, {})[method] = Match(call)

    def find(self, method: bytes, target: bytes) -> Match | Mismatch:
        """Return the call of this method and path, or what the path would take."""
        found = self._found.get((method, target))
        return found or self._search(method, target)

    def _search(self, method: bytes, target: bytes) -> Match | Mismatch:
        fixed = self._fixed.get(target)
        if fixed is not None:
            return fixed.get(method) or _mismatch(fixed)
        parts = target.split(b"/")
        if len(parts) < 4:  # noqa: PLR2004 — nothing, v1, a collection, an id
            return Mismatch()
        encoded, parts[3] = parts[3], PLACE
        grant: str | None = ""
        if len(parts) == GRANT_PARTS:
            grant, parts[5] = _decoded(parts[5]), GRANT_PLACE
        methods = self._open.get(tuple(parts))
        identity = _decoded(encoded)
        if methods is None or identity is None or grant is None:
            return Mismatch()
        call = methods.get(method)
        if call is None:
            return _mismatch(methods)
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        match = self._found[method, target] = Match(call, identity, grant)
        return match


def _mismatch(methods: Iterable[bytes]) -> Mismatch:
    return Mismatch(tuple(sorted(method.decode() for method in methods)))


def _decoded(segment: bytes) -> str | None:
    try:
        text = unquote_to_bytes(segment).decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if IDENTITY.fullmatch(text) else None
