"""The internal port: who is let in, and that a forwarded caller is believed nowhere else."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from shieldx.keeper.main import Options, keep
from shieldx.kube.cluster import Identity
from shieldx.ledger.forward import AUDIENCE, Forward
from shieldx.ledger.jobs import Job, decode_answers, encode_jobs
from shieldx.ledger.leadership import FRESH_SECONDS
from shieldx.ledger.operations import OpenAccount
from shieldx.ledger.records import Code
from shieldx.ledger.relay import NotSentError
from shieldx.ledger.verify import verify
from shieldx.ledger.writer import Peers
from shieldx.sidecar.auth import NoTokens
from shieldx.sidecar.internal import InternalOptions, admission, internal_options
from shieldx.sidecar.main import Process
from tests.support.api import Client, Response, Service
from tests.support.ports import free_port
from tests.support.proxy import proxied

pytestmark = pytest.mark.postgres

API = "shop/credits-api"
FORWARDED = b"shieldx_ledger_forwarded_operations_total 1.0"


class Reviewer:
    """Whose a token is: its own text, `namespace/name`."""

    async def review_token(self, token: str, audience: str) -> Identity | None:
        assert audience == AUDIENCE
        namespace, _, name = token.partition("/")
        return Identity(namespace, name) if name else None


class Internal(Service):
    """A service of one process that has an internal port too."""

    def __init__(self, dsn: str, folder: Path) -> None:
        super().__init__(dsn)
        self.dsn = dsn
        self.internal = free_port()
        (folder / "token").write_text(API)
        self.forward = Forward(folder / "token")
        peers = Peers(self.forward, f"127.0.0.1:{self.internal}")
        self.process = Process(dsn, self.config, NoTokens(), peers=peers)
        self.process.open_internally(
            admission(Reviewer(), [("shop", "credits-api")]), "127.0.0.1", self.internal
        )


@pytest.fixture
async def service(dsn: str, tmp_path: Path) -> AsyncIterator[Internal]:
    async with Internal(dsn, tmp_path) as service:
        assert service.process.internal_server is not None
        await service.process.internal_server.listen("127.0.0.1", service.internal)
        await heard(service)
        yield service


async def heard(service: Internal, *, until: bool = True) -> None:
    """Wait until the process says that it is the writer, or does not say so any more."""
    async with asyncio.timeout(60):
        address = f"127.0.0.1:{service.internal}"
        while await service.forward.hears(address) is not until:  # noqa: ASYNC110 - a port
            await asyncio.sleep(0.05)


def opening(account: str) -> bytes:
    operation = OpenAccount(id=account)
    return encode_jobs([Job("forged", [operation], ["k"], atomic=False, done=print)])


async def posted(port: int, payload: bytes, token: str | None, path: str) -> Response:
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n{authorization}"
        f"Content-Type: application/msgpack\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    async with Client(port) as client:
        client.writer.write(head.encode() + payload)
        return await client.response()


async def test_a_process_of_this_ledger_is_let_in_and_believed(service: Internal) -> None:
    told = await posted(service.internal, opening("a"), API, "/internal/jobs")

    ((answer,),) = decode_answers(told.payload)
    assert answer.code is Code.CREATED
    async with service.client() as client:
        assert (await client.balance("a"))[0] == 0


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("forged", 401), ("shop/checkout", 403), ("x/y", 403)]
)
async def test_nobody_else_is_let_in(service: Internal, token: str | None, status: int) -> None:
    told = await posted(service.internal, opening("a"), token, "/internal/jobs")

    assert told.status == status
    async with service.client() as client:
        assert (await client.get("/v1/accounts/a")).status == 404


async def test_the_public_port_knows_no_forwarded_caller(service: Internal) -> None:
    for path in ("/internal/jobs", "/internal/writer"):
        assert (await posted(service.port, opening("a"), API, path)).status == 404
    for path in ("/v1/batch", "/v1/accounts"):
        assert (await posted(service.port, opening("a"), API, path)).status == 400

    async with service.client() as client:
        assert (await client.get("/v1/accounts/a")).status == 404


async def test_the_internal_port_serves_nothing_else(service: Internal) -> None:
    await heard(service)
    async with Client(service.internal, API) as client:
        assert (await client.get("/internal/jobs")).status == 405
        assert (await client.get("/v1/accounts/a")).status == 404
        assert (await client.get("/metrics")).status == 404
        mangled = await posted(service.internal, b"\xff", API, "/internal/jobs")

    assert (mangled.status, mangled.code) == (400, "invalid_request")


async def test_who_is_not_the_writer_takes_nothing(service: Internal) -> None:
    await service.process.ledger.resign()

    job = msgspec.msgpack.encode([])
    told = await posted(service.internal, job, API, "/internal/jobs")

    assert (told.status, told.code) == (503, "not_ready")
    address = f"127.0.0.1:{service.internal}"
    assert not await service.forward.hears(address)
    with pytest.raises(NotSentError):
        await service.forward.send(address, [])


async def test_a_writer_that_has_not_heard_of_the_database_calls_nobody_back(
    dsn: str, tmp_path: Path
) -> None:
    async with proxied(dsn, tmp_path) as (own, proxy), Internal(own, tmp_path) as service:
        assert service.process.internal_server is not None
        await service.process.internal_server.listen("127.0.0.1", service.internal)
        await heard(service)
        proxy.through.clear()
        began = time.monotonic()
        await heard(service, until=False)
        unsure = time.monotonic() - began
        writer = service.process.ledger.writer
        still = writer is not None and writer.leadership.mine
        proxy.through.set()

    # It believes in itself for longer: whoever was not answered must not come back meanwhile.
    assert still or unsure > FRESH_SECONDS + 0.5


async def test_the_keeper_settles_through_the_writer(service: Internal, tmp_path: Path) -> None:
    async with service.client() as client:
        await client.account("a", 10)
        await client.post("/v1/holds", {"account": "a", "amount": 4, "timeout_seconds": 1})
    (tmp_path / "dsn").write_text(service.dsn)
    (tmp_path / "config.json").write_text('{"ledger": "test/credits", "shard": "s0"}')
    options = Options(
        dsn_file=tmp_path / "dsn",
        config=tmp_path / "config.json",
        operator="shieldx-system:operator",
        host="127.0.0.1",
        port=free_port(),
        token_file=tmp_path / "token",
    )
    stopped = asyncio.Event()
    keeping = asyncio.create_task(keep(options, Reviewer(), stopped))

    async with asyncio.timeout(60), service.client() as client:
        while FORWARDED not in (await client.get("/metrics")).payload:  # noqa: ASYNC110 - a count
            await asyncio.sleep(0.1)

    stopped.set()
    await keeping
    report = await verify(service.dsn)
    assert report.problem is None


async def test_a_port_that_nobody_listens_on_was_sent_nothing(service: Internal) -> None:
    with pytest.raises(NotSentError):
        await service.forward.send(f"127.0.0.1:{free_port()}", [])


async def test_without_a_token_of_our_own_nothing_is_sent(service: Internal) -> None:
    nobody = Forward(Path("/nowhere"))
    address = f"127.0.0.1:{service.internal}"

    assert not await nobody.hears(address)
    with pytest.raises(NotSentError):
        await nobody.send(address, [])
    await nobody.close()


async def test_a_leader_that_resigns_is_followed_by_itself_as_guard(service: Internal) -> None:
    await service.process.ledger.resign()

    async with service.client() as client:
        await client.account("a", 5)
        await asyncio.sleep(0.3)
        assert (await client.consume("a", 1)).status == 201


def test_the_command_line_is_put_together_or_refused() -> None:
    token = Path("/t")

    assert internal_options(None, "10.0.0.1", (), None) is None
    assert internal_options(5006, "10.0.0.1", ["shop:api"], token) == InternalOptions(
        5006, "10.0.0.1:5006", (("shop", "api"),), token
    )
    found = internal_options(5006, "fd00::1", ["shop:api"], token)
    assert found is not None
    assert found.address == "[fd00::1]:5006"
    for wrong in (
        (None, "x", ["a:b"], None),
        (None, "x", (), token),
        (5006, None, ["a:b"], token),
        (5006, "x", (), token),
        (5006, "x", ["a:b"], None),
        (5006, "x", ["a"], token),
        (5006, "x", [":b"], token),
    ):
        with pytest.raises(ValueError, match="--"):
            internal_options(*wrong)
