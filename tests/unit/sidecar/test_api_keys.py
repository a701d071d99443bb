"""Holders of API keys: who is let in, what the others are told, and what changes under way."""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shieldx.resources.api_keys import RANDOM_BYTES, digest_of, make_key
from shieldx.sidecar import api_keys
from shieldx.sidecar.api_keys import HALF, Holder, Holders, KeyHolders, parse, read
from shieldx.sidecar.auth import Caller, NoTokens
from shieldx.sidecar.exchange import Exchange, Shown
from shieldx.sidecar.scopes import Scope

NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()


def key(number: int) -> str:
    return make_key(bytes([number]) * RANDOM_BYTES)


def entry(number: int, **more: object) -> bytes:
    digest = digest_of(key(number).encode()).hex()
    return json.dumps({"hash": f"sha256:{digest}", "scopes": ["read"], **more}).encode()


class Line:
    shown: Shown | None = None

    def ready(self, _: Exchange) -> None:
        """Nobody waits."""


class Door:
    """A door for holders of keys; everybody else comes in as `embedded`."""

    def __init__(self, files: dict[str, bytes], now: float = NOW) -> None:
        self.now = now
        self.holders = KeyHolders(NoTokens(), wall=lambda: self.now)
        self.holders.holders = parse(files)

    def knock(self, token: str | None) -> tuple[Exchange, Caller | None]:
        came: list[Caller] = []
        exchange = Exchange(Line(), b"GET")
        exchange.authorization = None if token is None else f"Bearer {token}".encode("latin-1")
        self.holders.identify(exchange, lambda _, caller: came.append(caller))
        return exchange, came[0] if came else None


def test_a_key_is_its_holders_with_its_rights() -> None:
    limited = entry(2, scopes=["read", "issue"], accounts=["shop/"])
    door = Door({"till": entry(1), "mint": limited})

    _, till = door.knock(key(1))
    _, mint = door.knock(key(2))

    assert till == Caller("apikey:till", frozenset({Scope.READ}), None)
    assert mint == Caller("apikey:mint", frozenset({Scope.READ, Scope.ISSUE}), ("shop/",))


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (key(9), "never added, or has been removed"),
        (key(1)[:-1], "mistyped or cut off"),
        (key(1).swapcase().replace("SX_", "sx_"), "mistyped or cut off"),
        ("sx_", "mistyped or cut off"),
        ("sx_\xff", "mistyped or cut off"),
        (key(3), "has expired"),
    ],
)
def test_whoever_shows_another_key_is_told_why(token: str, says: str) -> None:
    door = Door({"till": entry(1), "late": entry(3, expires="2026-05-31T23:59:59Z")})

    exchange, caller = door.knock(token)

    assert caller is None
    assert exchange.status == 401
    assert b"www-authenticate" in exchange.fields
    assert says in json.loads(exchange.payload or b"")["message"]


def test_a_key_ends_at_its_moment() -> None:
    door = Door({"till": entry(1, expires="2026-06-01T00:00:10+00:00")})

    assert door.knock(key(1))[1] is not None
    door.now += 10
    assert door.knock(key(1))[1] is None


@pytest.mark.parametrize("token", [None, "eyJhbGciOi", "x" + key(1)])
def test_what_is_no_key_is_left_to_the_others(token: str | None) -> None:
    _, caller = Door({"till": entry(1)}).knock(token)

    assert caller is not None
    assert caller.identity == "embedded"


def test_a_hash_must_agree_to_its_last_byte() -> None:
    digest = digest_of(key(1).encode())
    holder = Holder(digest[:HALF] + bytes(HALF), Caller("apikey:x", frozenset()), None)

    assert isinstance(Holders([holder]).find(key(1).encode(), NOW), str)


def test_a_bad_entry_is_refused_by_name_and_the_others_stand(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    holders = parse(
        {
            "bad": b"{",
            "raw": key(2).encode(),
            "twin-a": entry(3),
            "twin-b": entry(3),
            "till": entry(1),
        }
    )

    assert len(holders) == 1
    assert isinstance(holders.find(key(1).encode(), NOW), Caller)
    assert isinstance(holders.find(key(3).encode(), NOW), str)
    for name in ("bad", "raw", "twin-a", "twin-b"):
        assert f"API key {name} is refused" in caplog.text
    assert "1 API keys are accepted, 4 refused" in caplog.text
    assert key(2) not in caplog.text


def mounted(directory: Path, version: str, files: dict[str, bytes]) -> None:
    """Mount a Secret as the kubelet does: a folder a version, and links that are swapped."""
    folder = directory / f"..{version}"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (directory / "..data_tmp").symlink_to(folder.name)
    os.replace(directory / "..data_tmp", directory / "..data")  # noqa: PTH105 - replaces a link
    for name in files:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    for link in directory.iterdir():
        if not link.name.startswith("..") and link.name not in files:
            link.unlink()


def test_a_secret_volume_is_read_by_its_links(tmp_path: Path) -> None:
    assert read(tmp_path / "missing") == {}
    mounted(tmp_path, "1", {"till": entry(1), ".hidden": entry(2)})

    assert read(tmp_path) == {"till": entry(1), ".hidden": entry(2)}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - a file.
            await asyncio.sleep(0.01)


async def test_added_and_removed_keys_are_in_force_without_a_restart(tmp_path: Path) -> None:
    door = Door({})
    directory = tmp_path / "keys"
    following = asyncio.create_task(door.holders.follow(directory, every_seconds=0.01))

    mounted(directory, "1", {"till": entry(1)})
    await until(lambda: door.knock(key(1))[1] is not None)
    mounted(directory, "2", {"other": entry(2)})
    await until(lambda: door.knock(key(2))[1] is not None)
    assert door.knock(key(1))[1] is None
    mounted(directory, "3", {})
    await until(lambda: door.knock(key(2))[1] is None)

    following.cancel()


async def test_keys_that_cannot_be_read_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(_: Path) -> dict[str, bytes]:
        raise OSError("input/output error")

    mounted(tmp_path, "1", {"till": entry(1)})
    door = Door({})
    following = asyncio.create_task(door.holders.follow(tmp_path, every_seconds=0.01))
    await until(lambda: door.knock(key(1))[1] is not None)

    monkeypatch.setattr(api_keys, "read", unreadable)
    await until(lambda: "the last ones stay" in caplog.text)

    assert door.knock(key(1))[1] is not None
    following.cancel()
