"""What clients say to the product and to the prototype: the same transfers, each in its tongue."""

import json
import random
from collections.abc import Callable
from typing import Final

from tests.bench.load import OverloadedError, Script, WrongAnswerError

ACCOUNTS: Final = 10_000
BEARER: Final = "authorization: Bearer "

_bits = random.getrandbits
_choose = random.randrange


def account(number: int) -> str:
    """Return the product's name of the account that the prototype knows by number."""
    return f"shop/user-{number}"


class Single:
    """One request a unit, made by `make`, answered by `status` and `marker`."""

    weight = 1

    def __init__(self, make: Callable[[], bytes], status: bytes, marker: bytes) -> None:
        self.first = make
        self._status = status
        self._marker = marker

    def following(self, status: bytes, body: bytes) -> None:
        if status == b"503":
            raise OverloadedError(body.decode(errors="replace"))
        if status != self._status or body.count(self._marker) != self.weight:
            raise WrongAnswerError(f"{status.decode()} {body[:300].decode(errors='replace')}")


class Batch(Single):
    """One batch a unit; every operation in it must succeed."""

    def __init__(
        self, make: Callable[[], bytes], status: bytes, marker: bytes, weight: int
    ) -> None:
        super().__init__(make, status, marker)
        self.weight = weight


class ReserveAndCommit:
    """Reserve, then pay what was reserved: one unit."""

    weight = 1

    def __init__(self, token: str) -> None:
        self._head = f"host: ledger\r\n{BEARER}{token}\r\nidempotency-key: "
        self._committing = False

    def first(self) -> bytes:
        body = f'{{"account":"{account(_choose(1, ACCOUNTS))}","amount":5}}'
        return self._post("/v1/holds", body)

    def following(self, status: bytes, body: bytes) -> bytes | None:
        if status != b"201":
            raise WrongAnswerError(f"{status.decode()} {body.decode(errors='replace')}")
        self._committing = not self._committing
        if not self._committing:
            return None
        return self._post(f"/v1/holds/{json.loads(body)['id']}/commit", "{}")

    def _post(self, path: str, body: str) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\n{self._head}{_bits(128):032x}\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        ).encode()


class Product:
    """Scripts for the product's API, under one caller's token."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._head = f" HTTP/1.1\r\nhost: ledger\r\n{BEARER}{token}\r\n"

    def single(self, accounts: int = ACCOUNTS) -> Script:
        tail = f"\r\ncontent-length: {len(CONSUME)}\r\n\r\n{CONSUME}"

        def make() -> bytes:
            return (
                f"POST /v1/accounts/{ENCODED}{_choose(1, accounts + 1)}/consume{self._head}"
                f"idempotency-key: {_bits(128):032x}{tail}"
            ).encode()

        return Single(make, b"201", b'"seq":')

    def batch(self, size: int) -> Script:
        def make() -> bytes:
            operations = ",".join(
                [
                    f'{{"type":"consume","account":"{account(_choose(1, ACCOUNTS))}","amount":5,'
                    f'"idempotency_key":"{_bits(128):032x}"}}'
                    for _ in range(size)
                ]
            )
            body = f'{{"atomic":false,"operations":[{operations}]}}'
            return (
                f"POST /v1/batch{self._head}idempotency-key: {_bits(128):032x}\r\n"
                f"content-length: {len(body)}\r\n\r\n{body}"
            ).encode()

        return Batch(make, b"200", b'"code":"created"', size)

    def balance(self) -> Script:
        def make() -> bytes:
            number = _choose(1, ACCOUNTS)
            return f"GET /v1/accounts/{ENCODED}{number}/balance{self._head}\r\n".encode()

        return Single(make, b"200", b'"as_of":')

    def reserve_and_commit(self) -> Script:
        return ReserveAndCommit(self._token)


class Prototype:
    """Scripts for the prototype."""

    def single(self, accounts: int = ACCOUNTS) -> Script:
        def make() -> bytes:
            body = _transfer(accounts)
            return f"{TRANSFER}{len(body)}\r\n\r\n{body}".encode()

        return Single(make, b"200", b'"posted"')

    def batch(self, size: int) -> Script:
        def make() -> bytes:
            body = f"[{','.join([_transfer(ACCOUNTS) for _ in range(size)])}]"
            return f"{BATCH}{len(body)}\r\n\r\n{body}".encode()

        return Batch(make, b"200", b'"posted"', size)


CONSUME: Final = '{"amount":5}'
ENCODED: Final = "shop%2Fuser-"
TRANSFER: Final = "POST /v1/transfers HTTP/1.1\r\nhost: ledger\r\ncontent-length: "
BATCH: Final = "POST /v1/batch HTTP/1.1\r\nhost: ledger\r\ncontent-length: "


def _transfer(accounts: int) -> str:
    debit = _choose(1, accounts + 1)
    return f'{{"key":"{_bits(128):032x}","debit":{debit},"credit":0,"amount":5}}'
