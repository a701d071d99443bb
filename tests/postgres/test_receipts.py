"""Receipts of a running ledger: its key is rotated by adding one, and old receipts stay genuine."""

import asyncio
import base64
import json
import secrets
from pathlib import Path

import pytest

from shieldx.kube.signing_keys import SigningKeys
from shieldx.ledger.seals import KeyRing
from shieldx.ledger.verify import verify
from shieldx.sidecar.main import Options
from tests.support.api import Client, Reviewer, served

pytestmark = pytest.mark.postgres

CONFIG = {
    "ledger": "test/credits",
    "auth": {
        "serviceAccounts": [
            {"namespace": "ops", "name": "all", "scopes": ["read", "write", "issue", "admin"]}
        ]
    },
}


async def test_a_key_that_is_added_seals_what_comes_from_then_on(
    dsn: str, tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "receipt-keys"
    KeyRing.create(keys)
    (tmp_path / "dsn").write_text(dsn)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    reviewer = Reviewer()
    options = Options(
        tmp_path / "dsn",
        tmp_path / "config.json",
        "127.0.0.1",
        free_port,
        drain_seconds=0,
        receipt_keys=keys,
    )
    async with (
        served(options, reviewer, SigningKeys(reviewer), capsys),
        Client(free_port, "ops/all") as client,
    ):
        await client.account("a", 1000)
        first = (await client.consume("a", 1, "first")).body["receipt"]
        (keys / "k2").write_text(base64.b64encode(secrets.token_bytes(32)).decode())
        receipt = first
        async with asyncio.timeout(60):
            while receipt.startswith("k1."):
                await asyncio.sleep(0.2)
                receipt = (await client.consume("a", 1)).body["receipt"]
        again = await client.consume("a", 1, "first")

    assert receipt.startswith("k2.")
    assert again.body["receipt"] == first  # A replay is the first answer, sealed as it was.
    ring = KeyRing.read(keys)
    for one in (first, receipt):
        report = await verify(dsn, ring, receipt=one)
        assert (report.problem, report.receipt_at is None) == (None, False)
    (keys / "k1").unlink()
    assert "k1" in str((await verify(dsn, KeyRing.read(keys))).problem)
