"""API keys and their entries: what is told apart, and what is never told."""

import secrets
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldx.resources.api_keys import (
    ALPHABET,
    PREFIX,
    RANDOM_BYTES,
    Entry,
    EntryError,
    digest_of,
    is_intact,
    make_key,
    parse_entry,
    write_entry,
)
from shieldx.resources.creditledger import Scope

HASH = "sha256:" + "ab" * 32


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_key_is_intact_as_it_was_made(randomness: bytes) -> None:
    key = make_key(randomness)

    assert is_intact(key)
    assert len(key) == 52
    assert key.startswith(PREFIX)


@given(st.integers(0, 51), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(position: int, other: str) -> None:
    key = make_key(bytes(range(RANDOM_BYTES)))
    mistyped = key[:position] + other + key[position + 1 :]

    assert is_intact(mistyped) == (mistyped == key)


@pytest.mark.parametrize("spoil", [lambda k: k[:-1], lambda k: k + "0", str.lower, lambda k: k[3:]])
def test_a_key_that_is_cut_or_changed_in_case_is_noticed(spoil: "type[str]") -> None:
    assert not is_intact(spoil(make_key(secrets.token_bytes(RANDOM_BYTES))))


def test_keys_are_made_of_256_random_bits() -> None:
    keys = {make_key(bytes(31) + bytes([number])) for number in range(256)}

    assert len(keys) == 256
    with pytest.raises(ValueError, match="32 random bytes"):
        make_key(b"short")


def test_an_entry_is_read_as_it_was_written() -> None:
    entry = Entry(HASH, [Scope.READ, Scope.ISSUE], ["shop/"], datetime(2027, 1, 1, tzinfo=UTC))

    assert parse_entry(write_entry(entry).encode()) == entry
    assert entry.digest == bytes.fromhex("ab" * 32)
    assert parse_entry(b'{"hash":"%b","scopes":["read"]}' % HASH.encode()).accounts is None


KEY = make_key(bytes(RANDOM_BYTES))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        KEY,
        f'"{KEY}"',
        f'{{"hash": "{KEY}", "scopes": ["read"]}}',
        f'{{"hash": "{HASH[7:]}", "scopes": ["read"]}}',
        f'{{"hash": "{HASH.upper()}", "scopes": ["read"]}}',
        f'{{"hash": "{HASH}0", "scopes": ["read"]}}',
        f'{{"hash": "{HASH}"}}',
        f'{{"hash": "{HASH}", "scopes": []}}',
        f'{{"hash": "{HASH}", "scopes": ["everything"]}}',
        f'{{"hash": "{HASH}", "scopes": ["read"], "accounts": "shop/"}}',
        f'{{"hash": "{HASH}", "scopes": ["read"], "accounts": ["/shop"]}}',
        f'{{"hash": "{HASH}", "scopes": ["read"], "account": ["shop/"]}}',
        f'{{"hash": "{HASH}", "scopes": ["read"], "expires": "2027-01-01"}}',
        f'{{"hash": "{HASH}", "scopes": ["read"], "expires": "2027-01-01T00:00:00"}}',
        f'{{"hash": "{HASH}", "scopes": ["read"]}} x',
        "[" * 20_000,
    ],
)
def test_an_entry_that_says_something_else_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(EntryError) as refused:
        parse_entry(text.encode())

    assert KEY not in str(refused.value)
    assert HASH[7:] not in str(refused.value)


def test_a_key_is_known_by_its_sha256() -> None:
    assert digest_of(b"abc").hex().startswith("ba7816bf8f01cfea")
