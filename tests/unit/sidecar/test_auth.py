"""Who is let in, with which rights, and what the others are told."""

import asyncio
import json

import pytest

from shieldx.kube.cluster import Identity
from shieldx.kube.tokens import ReviewUnavailableError, TokenCache
from shieldx.sidecar.auth import Caller, NoTokens, ServiceAccounts
from shieldx.sidecar.exchange import Exchange, Shown, bearer
from shieldx.sidecar.scopes import Scope

CHECKOUT = Caller("system:serviceaccount:shop:checkout", frozenset({Scope.READ}), ("shop/",))


class Line:
    """Somebody waits for one answer."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    shown: Shown | None = None

    def ready(self, _: Exchange) -> None:
        self.answered.set()


class Reviewer:
    """Knows two service accounts by their tokens; `silent` has no answer, `broken` a bug."""

    async def review_token(self, token: str, audience: str) -> Identity | None:
        assert audience == "shieldx"
        match token:
            case "silent":
                raise ReviewUnavailableError("away")
            case "broken":
                raise ValueError("a bug")
            case "good":
                return Identity("shop", "checkout")
            case "other":
                return Identity("shop", "other")
            case _:
                return None


async def admitted(authorization: bytes | None) -> tuple[Exchange, Caller | None]:
    callers: list[Caller] = []
    accounts = ServiceAccounts(TokenCache(Reviewer()), {("shop", "checkout"): CHECKOUT})
    line = Line()
    exchange = Exchange(line, b"GET")
    exchange.authorization = authorization

    def admit(_: Exchange, caller: Caller) -> None:
        callers.append(caller)
        line.ready(exchange)

    accounts.identify(exchange, admit)
    async with asyncio.timeout(30):
        await line.answered.wait()
    return exchange, callers[0] if callers else None


async def test_a_service_account_of_the_configuration_is_let_in() -> None:
    exchange, caller = await admitted(b"Bearer good")

    assert caller is CHECKOUT
    assert not exchange.answered


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        (None, 401, "unauthenticated"),
        (b"", 401, "unauthenticated"),
        (b"Bearer ", 401, "unauthenticated"),
        (b"Basic Z29vZA==", 401, "unauthenticated"),
        (b"Bearer forged", 401, "unauthenticated"),
        (b"Bearer other", 403, "unknown_caller"),
        (b"Bearer silent", 503, "authentication_unavailable"),
        (b"Bearer broken", 500, "internal_error"),
    ],
)
async def test_everybody_else_is_told_why(
    authorization: bytes | None, status: int, code: str
) -> None:
    exchange, caller = await admitted(authorization)

    assert caller is None
    assert exchange.status == status
    assert json.loads(exchange.payload or b"")["code"] == code
    assert (b"www-authenticate" in exchange.fields) == (status == 401)
    assert (b"retry-after" in exchange.fields) == (status == 503)
    assert b"silent" not in (exchange.payload or b"")


async def test_a_known_token_is_admitted_at_once_and_by_the_policy_of_now() -> None:
    callers: list[Caller] = []
    tokens = TokenCache(Reviewer())
    await tokens.review(b"good")
    accounts = ServiceAccounts(tokens, {("shop", "checkout"): CHECKOUT})
    exchange = Exchange(Line(), b"GET")
    exchange.authorization = b"bearer good"

    accounts.identify(exchange, lambda _, caller: callers.append(caller))
    assert callers == [CHECKOUT]

    accounts.policy = {}
    accounts.identify(exchange, lambda _, caller: callers.append(caller))
    assert exchange.status == 403


async def test_what_a_connection_showed_last_counts_for_nothing_when_it_shows_something_else() -> (
    None
):
    tokens = TokenCache(Reviewer())
    for token in (b"good", b"forged"):
        await tokens.review(token)
    accounts = ServiceAccounts(tokens, {("shop", "checkout"): CHECKOUT})
    line, callers = Line(), list[Caller]()

    def show(authorization: bytes | None) -> int:
        exchange = Exchange(line, b"GET")
        exchange.authorization = authorization
        accounts.identify(exchange, lambda _, caller: callers.append(caller))
        return exchange.status

    shown = (b"Bearer good", b"Bearer good", b"Bearer forged", None, b"Bearer good")
    assert [show(one) for one in shown] == [0, 0, 401, 401, 0]
    assert callers == [CHECKOUT] * 3


async def test_a_yes_ends_in_its_time_on_a_connection_that_stays() -> None:
    now = 0.0
    tokens = TokenCache(Reviewer(), monotonic=lambda: now)
    await tokens.review(b"good")
    shown = Shown.read(b"Bearer good")

    assert tokens.known(b"good", shown.digest) is not None
    now = 61.0
    assert tokens.known(b"good", shown.digest) is None


def test_without_tokens_everybody_may_do_everything() -> None:
    callers: list[Caller] = []

    NoTokens().identify(Exchange(Line(), b"GET"), lambda _, caller: callers.append(caller))

    assert all(callers[0].may(scope) for scope in Scope)
    assert callers[0].sees("anything")


def test_a_caller_sees_only_its_prefixes() -> None:
    assert CHECKOUT.sees("shop/a")
    assert not CHECKOUT.sees("shopping")
    assert not CHECKOUT.sees("system/revenue")
    assert CHECKOUT.sees_any(["other/a", "shop/b"])
    assert not CHECKOUT.sees_any(["other/a"])
    assert Caller("x", frozenset()).sees("other/a")


@pytest.mark.parametrize(
    ("header", "token"),
    [(b"Bearer abc", b"abc"), (b"BEARER  abc ", b"abc"), (b"Bearer", None), (None, None)],
)
def test_the_scheme_is_bearer_in_any_case(header: bytes | None, token: bytes | None) -> None:
    assert bearer(header) == token
