"""What is measured, as processes: one Postgres with a database each, the servers in front of it.

CPU is read from /proc: of a server all its threads, of Postgres every process of it.
"""

import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from shieldx.ledger.embedded import EmbeddedPostgres
from shieldx.ledger.seals import KeyRing
from tests.bench.interpreter import Interpreter
from tests.bench.scripts import ACCOUNTS, account
from tests.bench.stub import NAMESPACE, StubCluster
from tests.support.api import Client

HERE: Final = Path(__file__).parent
PROTOTYPE: Final = (HERE / "prototype.sql").read_text()
BASELINE: Final = (HERE / "baseline.sql").read_text()
BATCH: Final = 500
CREDITS: Final = 1_000_000_000
# Everything durable, as the defaults have it; room for the run's WAL, so that no round meets a
# checkpoint that another one caused.
POSTGRES: Final = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "min_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "max_connections": "300",
}
# Of 16 MB; what a run writes is less.
WAL_FILES: Final = 380
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU since each began."""

    server: float
    postgres: float
    clients: float

    def __sub__(self, before: "Cpu") -> "Cpu":
        return Cpu(
            self.server - before.server,
            self.postgres - before.postgres,
            self.clients - before.clients,
        )


@dataclass(frozen=True)
class Server:
    """One server on a port of loopback, and the database behind it."""

    name: str
    port: int
    process: int
    dsn: str


@dataclass(frozen=True)
class Bench:
    """Everything that runs."""

    postgres: int
    version: str
    python: str
    ring: KeyRing
    product: Server
    prototype: Server
    baseline_dsn: str
    token: str

    def cpu(self, server: Server | None) -> Cpu:
        """Read what has been used until now."""
        times = os.times()
        return Cpu(
            0.0 if server is None else _used(server.process),
            _used_by_tree(self.postgres),
            times.user + times.system,
        )


@asynccontextmanager
async def bench(folder: Path, python: Interpreter) -> AsyncIterator[Bench]:
    """Start everything, with accounts that have credits; stop it in the end."""
    async with (
        EmbeddedPostgres(folder / "data", settings=POSTGRES) as postgres,
        StubCluster() as cluster,
    ):
        dsns = {name: await _database(postgres.dsn, name) for name in ("product", "prototype")}
        baseline = await _database(postgres.dsn, "baseline")
        await _run_sql(dsns["prototype"], PROTOTYPE)
        await _run_sql(baseline, BASELINE)
        cluster.write_kubeconfig(folder / "kubeconfig")
        _write_configuration(folder, dsns["product"])
        command = ["-m", "shieldx", "sidecar", "--host", "127.0.0.1", "--port", "0"]
        command += ["--drain-seconds", "0", "--dsn-file", str(folder / "dsn")]
        command += ["--config", str(folder / "config.json")]
        KeyRing.create(folder / "receipt-keys")
        command += ["--receipt-keys", str(folder / "receipt-keys")]
        yardstick = ["-m", "tests.bench.prototype", dsns["prototype"], "0"]
        with (
            _process(folder, "product", python, command) as (product, product_port),
            _process(folder, "prototype", python, yardstick) as (prototype, prototype_port),
        ):
            await _open_accounts(product_port, cluster.tokens["admin"])
            await _settle(*dsns.values(), baseline)
            await _make_wal_files(postgres.dsn)
            yield Bench(
                _postmaster(postgres.data),
                await _version(postgres.dsn),
                python.name,
                KeyRing.read(folder / "receipt-keys"),
                Server("product", product_port, product, dsns["product"]),
                Server("prototype", prototype_port, prototype, dsns["prototype"]),
                baseline,
                cluster.tokens["checkout"],
            )


@contextmanager
def _process(
    folder: Path, name: str, python: Interpreter, arguments: list[str]
) -> Iterator[tuple[int, int]]:
    """Run a server; return its process and the port that it says it is on."""
    environment = {
        **os.environ,
        **python.environment,
        "KUBECONFIG": str(folder / "kubeconfig"),
    }
    with (
        (folder / f"{name}.log").open("wb") as log,
        subprocess.Popen(
            [*python.command, *arguments], stdout=subprocess.PIPE, stderr=log, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        try:
            said = process.stdout.readline().decode().split()
            port = next((int(word.rpartition(":")[2]) for word in said if word[-1].isdigit()), None)
            if port is None:
                words = (folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{name} does not start: {words}")
            yield process.pid, port
        finally:
            process.terminate()


def _write_configuration(folder: Path, dsn: str) -> None:
    (folder / "dsn").write_text(dsn)
    callers = [
        {
            "namespace": NAMESPACE,
            "name": "checkout",
            "scopes": ["read", "write"],
            "accounts": ["shop/"],
        },
        {"namespace": NAMESPACE, "name": "admin", "scopes": ["read", "write", "issue", "admin"]},
    ]
    # Limits that are looked at for every request, and wide enough never to be met.
    wide = {"requestsPerSecond": 1_000_000, "burst": 1_000_000}
    configuration = {
        "ledger": "shop/credits",
        "auth": {"serviceAccounts": callers},
        "rateLimit": {"perClient": wide, "perAccount": wide},
    }
    (folder / "config.json").write_text(json.dumps(configuration))


async def _open_accounts(port: int, token: str) -> None:
    async with Client(port, token) as client:
        for begin in range(0, ACCOUNTS, BATCH):
            names = [account(number + 1) for number in range(begin, begin + BATCH)]
            for name in names:
                client.writer.write(client.request("POST", "/v1/accounts", {"id": name}))
                # Limits on requests in flight: answers are read as the requests go.
            for _ in names:
                opened = await client.response()
                assert opened.status == 201, opened
            refills = [{"type": "refill", "account": name, "amount": CREDITS} for name in names]
            filled = await client.post("/v1/batch", {"operations": refills})
            assert all(one["status"] == 201 for one in filled.body["results"]), filled


async def _database(dsn: str, name: str) -> str:
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"create database {name}")
    await admin.close()
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def _run_sql(dsn: str, script: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(script)
    await connection.close()


async def _settle(*dsns: str) -> None:
    """Leave nothing to autovacuum and the checkpointer that the rounds would pay for."""
    for dsn in dsns:
        connection = await asyncpg.connect(dsn)
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")
        await connection.close()


async def _make_wal_files(dsn: str) -> None:
    """Let WAL be written to files that are there, as in a database that has run for a while.

    A new one is filled with zeros by whoever needs it first, who waits for that for long. After a
    checkpoint the old ones are used again.
    """
    connection = await asyncpg.connect(dsn)
    for _ in range(WAL_FILES):
        await connection.execute("select pg_logical_emit_message(false, 'room', '')")
        await connection.execute("select pg_switch_wal()")
    await connection.execute("checkpoint")
    await connection.close()


async def _version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    version = await connection.fetchval("show server_version")
    await connection.close()
    return str(version)


def _postmaster(data: Path) -> int:
    return int((data / "pgdata" / "postmaster.pid").read_text().partition("\n")[0])


def _used_by_tree(parent: int) -> float:
    """Return the CPU of a process and its children, those that have ended included."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return _used(parent, ended=True) + sum(_used(int(child)) for child in children)


def _used(process: int, *, ended: bool = False) -> float:
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # It has ended meanwhile.
        return 0.0
    times = [int(word) for word in text.rpartition(")")[2].split()[11:15]]
    return sum(times if ended else times[:2]) / TICKS
