"""The whole way in: tokens and keys at the API of a real process, beside a cluster that signs."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shieldx.kube.signing_keys import SigningKeys
from shieldx.sidecar.main import Options
from tests.support.api import Client, served
from tests.support.api_server import EC, OTHER_RSA, ApiServer, token

pytestmark = pytest.mark.postgres

CONFIG = {
    "ledger": "test/credits",
    "auth": {
        "serviceAccounts": [
            {"namespace": "shop", "name": "checkout", "scopes": ["read", "write"]},
        ]
    },
}


@dataclass
class World:
    """A running API, the cluster it is in, and its mounted folder of keys."""

    cluster: ApiServer
    port: int
    keys: Path

    async def open(self, shown: str | bytes, name: str = "a") -> tuple[int, str]:
        """Try to open an account with a token or key; return status and code."""
        text = shown if isinstance(shown, str) else shown.decode()
        async with Client(self.port, text) as client:
            answer = await client.post("/v1/accounts", {"id": name})
        return answer.status, answer.body.get("code", "")

    async def until(self, shown: str | bytes, *statuses: int, prefix: str = "a") -> None:
        """Try until the answer has one of these."""
        async with asyncio.timeout(30):
            status = 0
            while status not in statuses:
                status, _ = await self.open(shown, f"{prefix}{time.monotonic_ns()}")


@pytest.fixture
async def world(
    dsn: str, tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[World]:
    (tmp_path / "dsn").write_text(dsn)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "keys").mkdir()
    options = Options(
        tmp_path / "dsn",
        tmp_path / "config.json",
        "127.0.0.1",
        free_port,
        drain_seconds=0,
        api_keys=tmp_path / "keys",
    )
    async with ApiServer() as cluster:
        keys = SigningKeys(cluster.reviewer, least_pause_seconds=0.1)
        async with served(options, cluster.reviewer, keys, capsys):
            yield World(cluster, free_port, tmp_path / "keys")


def new_key(name: str, *arguments: str) -> tuple[str, str]:
    """Make a key by the command; return it and its entry."""
    done = subprocess.run(
        [sys.executable, "-m", "shieldx", "ledger", "api-key", name, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    lines = done.stdout.splitlines()
    (key,) = [line for line in lines if line.startswith("sx_")]
    (entry,) = [line for line in lines if line.startswith("{")]
    return key, entry


async def test_tokens_are_judged_by_the_clusters_keys(world: World) -> None:
    now = int(time.time())
    world.cluster.answering.clear()  # No review is answered: only keys can let anybody in.
    try:
        await world.until(token(), 201)
        for wrong in (
            token(exp=now - 60),
            token(nbf=now + 3600),
            token(aud=["other"]),
            token(iss="https://other.example"),
            token(OTHER_RSA, "unknown", iss="https://other.example"),
            token(OTHER_RSA, "one"),
            b"garbage",
        ):
            assert await world.open(wrong) == (401, "unauthenticated")
        stranger = token(sub="system:serviceaccount:shop:stranger")
        assert await world.open(stranger) == (403, "unknown_caller")
    finally:
        world.cluster.answering.set()


async def test_a_rotated_key_and_a_silent_cluster(world: World) -> None:
    await world.until(token(), 201)
    world.cluster.reviews_away = True
    world.cluster.publishing.clear()
    fresh = token(EC, "two")

    assert await world.open(fresh) == (503, "authentication_unavailable")
    world.cluster.keys = {"two": EC}
    assert await world.open(fresh) == (503, "authentication_unavailable")

    world.cluster.publishing.set()
    await world.until(fresh, 201)
    assert await world.open(token(exp=int(time.time()) + 300)) == (
        503,
        "authentication_unavailable",
    )


async def test_a_revoked_token_is_shut_out_behind_the_first_request(world: World) -> None:
    shown = token()

    await world.until(shown, 201)
    await world.until(shown, 401)

    assert (await world.open(shown))[0] == 401


async def test_a_key_made_by_the_command_lets_its_holder_in(world: World) -> None:
    key, entry = new_key("till", "--scope=read", "--scope=write", "--accounts=shop/", "--days=1")
    assert await world.open(key) == (401, "unauthenticated")

    (world.keys / "till").write_text(entry)
    await world.until(key, 201, prefix="shop/")

    assert await world.open(key, "bank/a") == (404, "account_not_found")
    async with Client(world.port, key) as till:
        await till.account("shop/a")
        refused = await till.post("/v1/accounts/shop%2Fa/refill", {"amount": 1})
        assert (refused.status, refused.body["scope"]) == (403, "issue")
    assert await world.open(key[:-1]) == (401, "unauthenticated")

    (world.keys / "till").unlink()
    await world.until(key, 401, prefix="shop/")


def test_the_command_says_what_it_cannot_make() -> None:
    for arguments in (["--scope=read", "--accounts=/x"], ["--scope=pay"], []):
        with pytest.raises(subprocess.CalledProcessError):
            new_key("till", *arguments)
    with pytest.raises(subprocess.CalledProcessError):
        new_key("a/b", "--scope=read")
