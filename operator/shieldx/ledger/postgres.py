"""A shard's Postgres: load what a batch must know, store what it decided.

One connection, one statement in flight. What travels stands in `rows`, what the statements do in
`sql/`.

    ShardUnavailableError   Postgres gave no answer, and was asked nothing that changes anything
    OutcomeUnknownError     the connection was lost while a batch was being stored
    StaleError              the chain has moved on, or a row changed: reload and decide again
    └── KnownKeyError       only a key was not known here: load the keys and decide again
    BreachError             the database refuses what the model decided: a defect, or tampering
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, Self

import asyncpg
import msgspec
from asyncpg.prepared_stmt import PreparedStatement

from shieldx.ledger import schema
from shieldx.ledger.catching_up import Passed
from shieldx.ledger.model import Head, State
from shieldx.ledger.rows import learn, seq_of
from shieldx.ledger.steps import Step, reached, reached_soon

CONNECT_SECONDS: Final = 5
COMMAND_SECONDS: Final = 10
# A batch: whoever waits for it must be able to ask elsewhere before long.
BATCH_SECONDS: Final = 5
# Between the statements of one locked batch: a process that stops there must not stop the shard.
LOCKED_MILLISECONDS: Final = 2000
# Plans are kept, but not for long: the tables for which they were made grow.
PLANS_KEPT_BATCHES: Final = 256
APPLICATION: Final = f"{schema.PROGRAM}{schema.number()}"
SETTINGS: Final = {
    "application_name": APPLICATION,
    "plan_cache_mode": "force_generic_plan",  # a plan for this batch is of no use to the next
    "enable_seqscan": "off",  # a plan made while a table was empty would scan it when it is not
    "jit": "off",  # that makes plans look dear, and compiling them for a batch takes seconds
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
}
KEY_INDEX: Final = "entries_key"
STALE: Final = frozenset({"SX001", "SX002", "23505", "40001", "40P01"})
# No answer, or one that the driver does not understand: it came while the driver was giving up on
# it, or it is the news, between two statements, that the connection is ended.
SILENCE: Final = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# The server is ending, starting or full, or the connection to it is gone.
AWAY: Final = (
    *SILENCE,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
# The server says itself that the statement was not committed.
NOT_DONE: Final = frozenset(
    {"25006", "25P03", "53100", "53200", "53300", "57014", "57P01", "57P03"}
)

LOCK: Final = (
    "select set_config('idle_in_transaction_session_timeout', $1, true) "
    "from (select position from head where id = 0 for update) as locked"
)
LOAD: Final = "select load($1, $2, $3, $4, $5, $6, $7, $8, $9)"
ENTRIES_AFTER: Final = """
select h.position, h.seq, h.hash, h.at, e.caller, e.key, e.operation, e.code, e.answer, e.receipt
from head as h
left join entries as e on e.position > $1
order by e.position
limit $2
"""
STORE: Final = f"select store({', '.join(f'${n}' for n in range(1, 14))})"

_decode = msgspec.json.decode


class ShardUnavailableError(Exception):
    """Postgres gave no answer, and was asked nothing that changes anything."""


class OutcomeUnknownError(Exception):
    """The connection was lost while a batch was being stored: its keys will tell."""


class StaleError(Exception):
    """The chain has moved on, or a row has changed: reload and decide again."""


class KnownKeyError(StaleError):
    """Only a key was not known here: what else is remembered is as it was."""


class BreachError(Exception):
    """The database refuses what the model decided: a defect, or tampering.

    `fatal`: the batch contradicted itself, so nothing more may be stored by this process.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


async def connect(
    dsn: str, application: str = APPLICATION, command_seconds: float = COMMAND_SECONDS
) -> asyncpg.Connection:
    """Open one connection with the settings that every connection of the ledger has.

    `application` names the process where another one must be able to end its sessions.
    """
    try:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=command_seconds,
            server_settings=SETTINGS | {"application_name": application},
        )
    except (*SILENCE, asyncpg.PostgresError) as problem:
        raise ShardUnavailableError(f"no connection to Postgres: {problem!r}") from problem


class Shard:
    """The one connection through which a process decides and stores."""

    def __init__(self, connection: asyncpg.Connection, store: PreparedStatement, name: str) -> None:
        self._connection = connection
        self._store = store
        self._name = name
        self._planned_for = 0

    @classmethod
    async def open(cls, dsn: str, name: str, application: str = APPLICATION) -> Self:
        """Connect, unless this program has become too old for the database meanwhile."""
        connection = await connect(dsn, application, BATCH_SECONDS)
        try:
            await schema.must_fit(connection)
            store = await connection.prepare(STORE)
        except (*SILENCE, asyncpg.PostgresError, schema.NewerError) as problem:
            connection.terminate()
            raise ShardUnavailableError(str(problem)) from problem
        except BaseException:
            connection.terminate()
            raise
        return cls(connection, store, name)

    def abandon(self) -> None:
        """Drop the connection at once: nothing on it can be trusted any more."""
        self._connection.terminate()

    async def close(self) -> None:
        """Close the connection in peace."""
        await self._connection.close(timeout=CONNECT_SECONDS)

    async def begin(self) -> None:
        """Take the head's lock for one batch, so that nobody can overtake it."""
        await self._read("begin")
        await self._read(LOCK, str(LOCKED_MILLISECONDS))

    async def commit(self) -> None:
        """Make the locked batch durable and free the head."""
        reached_soon(Step.COMMITTING)
        await self._write(self._connection.execute, "commit")

    async def rollback(self) -> None:
        """Free the head, nothing having happened."""
        await self._read("rollback")

    async def load(
        self,
        state: State,
        *,
        accounts: Collection[str],
        grants: Collection[str],
        holds: Collection[str],
        transfers: Collection[str],
        references: Collection[str],
        keys: Collection[tuple[str, str]],
        due: Collection[str],
        now: int,
    ) -> int:
        """Let `state` know these rows, or that there are none; return the database's time.

        StaleError if the chain is not where `state` left it and `state` knows anything.
        """
        numbers = {transfer: seq_of(transfer, self._name) for transfer in transfers}
        text = await self._read(
            LOAD,
            list(accounts),
            list(grants),
            list(holds),
            [number for number in numbers.values() if number is not None],
            list(references),
            [caller for caller, _ in keys],
            [key for _, key in keys],
            list(due),
            now,
        )
        said = _decode(text)
        position = said["head"][0]
        # Who has caught up may know holds or transfers, and not one account.
        if (state.accounts or state.head.position) and position != state.head.position:
            raise StaleError(f"the chain is at {position}, not at {state.head.position}")
        state.accounts |= dict.fromkeys(accounts)
        state.lots |= dict.fromkeys(grants)
        state.holds |= dict.fromkeys(holds)
        state.posted |= dict.fromkeys(transfers)
        state.references |= dict.fromkeys(references)
        learn(state, said)
        return int(said["now"])

    async def entries_after(self, position: int, most: int) -> tuple[list[Passed], Head]:
        """Return at most so many entries after a position, and the head."""
        rows = await self._heard(self._connection.fetch(ENTRIES_AFTER, position, most))
        first = rows[0]
        head = Head(first["position"], first["seq"], first["hash"], first["at"])
        return [Passed(*row[4:]) for row in rows if row["caller"] is not None], head

    async def store(self, rows: Sequence[object]) -> None:
        """Make a batch durable, or raise; only after OutcomeUnknownError it may be both.

        `rows` are those of `rows_of`.
        """
        if self._planned_for == PLANS_KEPT_BATCHES:
            # A plan that was made while a table was empty reads all of it for every row to change.
            await self._read("discard plans")
            self._planned_for = 0
        self._planned_for += 1
        reached(Step.STORING)
        reached_soon(Step.STORE_SENT)
        await self._write(self._store.fetchval, *rows)

    async def _read(self, statement: str, *arguments: object) -> Any:
        return await self._heard(self._connection.fetchval(statement, *arguments))

    async def _heard(self, question: Awaitable[Any]) -> Any:
        try:
            return await question
        except SILENCE as silence:
            raise ShardUnavailableError(repr(silence)) from silence
        except asyncpg.PostgresError as refused:
            raise ShardUnavailableError(f"{refused.sqlstate}: {refused}") from refused

    async def _write(self, change: Callable[..., Awaitable[object]], *arguments: object) -> None:
        try:
            # Of a connection that is gone already the driver says so before there is anything
            # to wait for.
            await change(*arguments)
        except SILENCE as silence:
            raise OutcomeUnknownError(repr(silence)) from silence
        except asyncpg.PostgresError as refused:
            if getattr(refused, "constraint_name", None) == KEY_INDEX:
                raise KnownKeyError(str(refused)) from refused
            if refused.sqlstate in STALE:
                raise StaleError(str(refused)) from refused
            if refused.sqlstate in NOT_DONE:
                raise ShardUnavailableError(str(refused)) from refused
            if str(refused.sqlstate).startswith(("08", "57")):
                raise OutcomeUnknownError(str(refused)) from refused
            raise BreachError(
                f"{refused.sqlstate}: {refused}", fatal=refused.sqlstate == "SX009"
            ) from refused
