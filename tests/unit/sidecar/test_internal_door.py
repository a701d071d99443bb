"""The internal port believes callers who are only named, so it matters who gets in."""

from collections.abc import AsyncIterator

import pytest

from shieldx.kube.signing_keys import SigningKeys
from shieldx.ledger.forward import AUDIENCE
from shieldx.sidecar.auth import Authenticator, Caller
from shieldx.sidecar.exchange import Exchange, Shown
from shieldx.sidecar.internal import admission
from tests.support.api_server import OTHER_RSA, ApiServer, token

API = "system:serviceaccount:shop:credits-api"


class Line:
    shown: Shown | None = None

    def ready(self, _: Exchange) -> None:
        """Nobody waits."""


@pytest.fixture
async def door() -> AsyncIterator[Authenticator]:
    async with ApiServer() as cluster:
        keys = SigningKeys(cluster.reviewer)
        assert await keys.fetch()
        cluster.answering.clear()  # No review is answered: the keys alone decide.
        yield admission(cluster.reviewer, [("shop", "credits-api")], keys)
        cluster.answering.set()


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (token(aud=[AUDIENCE], sub=API), 0),
        (token(aud=["shieldx"], sub=API), 401),
        (token(OTHER_RSA, aud=[AUDIENCE], sub=API), 401),
        (token(aud=[AUDIENCE], sub="system:serviceaccount:shop:checkout"), 403),
        (token(aud=[AUDIENCE], sub="system:serviceaccount:bank:credits-api"), 403),
    ],
)
async def test_only_the_ledgers_own_processes_get_in(
    door: Authenticator, shown: bytes, status: int
) -> None:
    came: list[Caller] = []
    exchange = Exchange(Line(), b"POST")
    exchange.authorization = b"Bearer " + shown

    door.identify(exchange, lambda _, caller: came.append(caller))

    assert exchange.status == status
    assert bool(came) == (status == 0)
