"""Receipts prove an entry with keys that the database never sees."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from shieldx.ledger.seals import KeyRing, Seal, SealError

DIGEST = bytes(range(32))


def key(path: Path, name: str, fill: int = 1) -> None:
    (path / name).write_text(base64.b64encode(bytes([fill]) * 32).decode())


def test_a_receipt_is_genuine_for_its_entry_only(tmp_path: Path) -> None:
    key(tmp_path, "k1")
    ring = KeyRing.read(tmp_path)

    receipt = ring.seal(DIGEST)

    assert ring.genuine(receipt, DIGEST)
    assert not ring.genuine(receipt, bytes(32))
    assert not ring.genuine(receipt[:-1] + ("A" if receipt[-1] != "A" else "B"), DIGEST)


def test_the_last_key_seals_and_the_others_verify(tmp_path: Path) -> None:
    key(tmp_path, "k1")
    old = KeyRing.read(tmp_path).seal(DIGEST)
    key(tmp_path, "k2", 2)
    ring = KeyRing.read(tmp_path)

    assert ring.seal(DIGEST).startswith("k2.")
    assert ring.genuine(old, DIGEST)
    assert ring != KeyRing({"k1": b"x" * 32})


def test_a_receipt_of_an_unknown_key_cannot_be_judged(tmp_path: Path) -> None:
    key(tmp_path, "k1")

    with pytest.raises(SealError, match="k9"):
        KeyRing.read(tmp_path).genuine("k9.abc", DIGEST)


@pytest.mark.parametrize("content", ["not base64!", base64.b64encode(b"short").decode()])
def test_a_bad_key_is_named_and_not_shown(tmp_path: Path, content: str) -> None:
    (tmp_path / "k1").write_text(content)

    with pytest.raises(SealError, match="k1") as refused:
        KeyRing.read(tmp_path)
    assert content not in str(refused.value)


def test_no_key_is_no_ring_and_a_laptop_gets_one(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="no key"):
        KeyRing.read(tmp_path)

    made = KeyRing.create(tmp_path / "new")

    assert made == KeyRing.create(tmp_path / "new")
    assert (tmp_path / "new" / "k1").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("size", [32, 64, 65, 200])
@pytest.mark.parametrize("message", [b"", DIGEST, bytes(1000)])
def test_a_code_is_that_of_the_standard_library(size: int, message: bytes) -> None:
    key = bytes(range(256))[:size]
    known = hmac.digest(key, message, hashlib.sha256)

    for _ in range(2):  # What is hashed once and for all is not used up.
        code = base64.urlsafe_b64encode(known).decode().rstrip("=")
        assert Seal("k1", key)(message) == f"k1.{code}"
