"""Signatures are those of Standard Webhooks."""

import base64

import pytest

from shieldx.keeper.signing import SecretError, read_secrets, signatures


def test_a_signature_is_the_one_that_the_specification_gives() -> None:
    # The test vector of github.com/standard-webhooks/standard-webhooks.
    secrets = read_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    signed = signatures(
        secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_several_secrets_sign_beside_each_other() -> None:
    one, other = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))

    both = signatures(read_secrets(f"{one}\n{other}\n"), "m", 1, b"x")

    assert both.split() == [
        signatures(read_secrets(one), "m", 1, b"x"),
        signatures(read_secrets(other), "m", 1, b"x"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("hunter2", "does not begin with whsec_"),
        ("whsec_!!!!", "is not base64"),
        ("whsec_c2hvcnQ=", "has 5 bytes"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused_without_telling_it(text: str, says: str) -> None:
    with pytest.raises(SecretError, match=says) as refused:
        read_secrets(text)

    assert "hunter2" not in str(refused.value)
    assert "openssl rand" in str(refused.value)
