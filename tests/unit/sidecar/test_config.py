"""The mounted configuration: strict at the start, followed afterwards."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from shieldx.sidecar.config import Config, ConfigError, follow, load, parse
from shieldx.sidecar.scopes import Scope

WHOLE: dict[str, Any] = {
    "ledger": "shop/credits",
    "shard": "s0",
    "asset": {"code": "CREDIT", "scale": 2},
    "holds": {"defaultTimeoutSeconds": 60, "maxTimeoutSeconds": 600},
    "auth": {
        "serviceAccounts": [
            {
                "namespace": "shop",
                "name": "checkout",
                "scopes": ["read", "write"],
                "accounts": ["shop/"],
            },
            {"namespace": "shop", "name": "admin", "scopes": ["admin"]},
        ]
    },
}


def encoded(**changes: object) -> bytes:
    return json.dumps({**WHOLE, **changes}).encode()


def test_callers_are_indexed_with_their_rights() -> None:
    policy = parse(encoded()).policy()

    checkout = policy["shop", "checkout"]
    assert checkout.identity == "system:serviceaccount:shop:checkout"
    assert checkout.scopes == {Scope.READ, Scope.WRITE}
    assert checkout.prefixes == ("shop/",)
    assert policy["shop", "admin"].prefixes is None


def test_what_is_left_out_has_its_documented_default() -> None:
    config = parse(b'{"ledger": "a/b"}')

    assert (config.asset.code, config.asset.scale) == ("CREDIT", 0)
    assert config.holds.default_timeout_seconds == 900
    assert config.holds.max_timeout_seconds == 86400
    assert config.policy() == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "truncated"),
        (b"{}", "ledger"),
        (encoded(surprise=1), "surprise"),
        (encoded(asset={"code": "C", "scale": -1}), "scale"),
        (
            encoded(
                auth={"serviceAccounts": [{"namespace": "a", "name": "b", "scopes": ["root"]}]}
            ),
            "root",
        ),
        (
            encoded(holds={"defaultTimeoutSeconds": 10, "maxTimeoutSeconds": 5}),
            "defaultTimeoutSeconds",
        ),
    ],
)
def test_a_mistake_is_named(text: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load(tmp_path / "nowhere.json")


async def test_a_changed_file_is_reloaded_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    changes: asyncio.Queue[Config] = asyncio.Queue()
    path.write_bytes(encoded())
    _, text = load(path)
    following = asyncio.create_task(follow(path, text, changes.put_nowait, every_seconds=0.01))

    path.write_bytes(b"{")
    await asyncio.sleep(0.1)
    path.write_bytes(encoded(shard="s1"))
    async with asyncio.timeout(30):
        assert (await changes.get()).shard == "s1"
    path.unlink()
    await asyncio.sleep(0.1)
    path.write_bytes(encoded(shard="s2"))
    async with asyncio.timeout(30):
        assert (await changes.get()).shard == "s2"
    following.cancel()
