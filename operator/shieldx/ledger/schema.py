"""The numbered migrations that ship with the package, and how they are run.

They run before a process is ready, one process at a time under an advisory lock, each in a
transaction of its own. What has been applied is remembered with its checksum.

Old and new programs share a database while one is replaced by the other, so every migration says
which is the oldest program that can work with what it leaves. One that expands (adds what older
programs need not know) names the same as the migration before it; one that contracts (takes away
what only older programs used) names a later one. A program's number is that of its last migration.

    SchemaError         this program and this database do not fit together
    ├── NewerError      the database has been migrated to what this program is too old for
    ├── OlderError      a migration would take away what a connected program still uses
    └── ChangedError    an applied migration is not the one that ships with this program
"""

import hashlib
import logging
import re
from dataclasses import dataclass
from importlib import resources
from typing import Final

import asyncpg

from shieldx.ledger.steps import Step, reached

logger = logging.getLogger(__name__)

# Any number, as long as it is always the same: "shieldx" read as base 36 digits would not fit.
MIGRATION_LOCK: Final = 0x5348_4945_4C44
# A migration that waits for a table makes everybody wait behind it: better give up and come again.
LOCK_MILLISECONDS: Final = 1000
# How sessions are named, so that one sees which programs are connected: shieldx-ledger/NUMBER.
PROGRAM: Final = "shieldx-ledger/"
FIRST_LINE: Final = re.compile(r"-- Oldest program: (\d{4})\n")


class SchemaError(Exception):
    """Program and database do not fit together."""


class NewerError(SchemaError):
    """The database has been migrated to what this program is too old for: run a newer one."""


class OlderError(SchemaError):
    """A migration would take away what a connected program still uses: end that one first."""


class ChangedError(SchemaError):
    """An applied migration is not the one that ships with this program."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; its first line names the oldest program that works with it."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def oldest(self) -> int:
        first = FIRST_LINE.match(self.sql)
        if first is None:
            raise ValueError(f"{self.name} does not begin with '-- Oldest program: NNNN'")
        return int(first[1])


def migrations() -> list[Migration]:
    """Return the migrations in the order in which they are applied."""
    folder = resources.files("shieldx.ledger") / "sql"
    files = sorted((f for f in folder.iterdir() if f.name[:4].isdigit()), key=lambda f: f.name)
    return [Migration(int(f.name[:4]), f.name, f.read_text(encoding="utf-8")) for f in files]


def number() -> int:
    """Return this program's number."""
    return migrations()[-1].number


async def migrate(connection: asyncpg.Connection, shard: str) -> int:
    """Bring the database to this program's schema at least; return the database's version.

    Safe with any number of processes at once, and after a crash at any moment.
    LockNotAvailableError: another process migrates, or a long query holds a table; try again.
    """
    await connection.execute(f"set lock_timeout = {LOCK_MILLISECONDS}")
    await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
    reached(Step.MIGRATION_LOCKED)
    try:
        await connection.execute(
            "create table if not exists migrations ("
            "number integer primary key, name text not null, checksum text not null, "
            "oldest integer not null check (oldest between 1 and number), "
            "applied_at timestamptz not null default clock_timestamp())"
        )
        await must_fit(connection)
        applied: dict[int, str] = {
            row["number"]: row["checksum"]
            for row in await connection.fetch("select number, checksum from migrations")
        }
        known = migrations()
        _check(applied, known)
        for migration in known:
            if migration.number not in applied:
                await _apply(connection, migration, shard)
        reached(Step.MIGRATED)
        return max([known[-1].number, *applied])
    finally:
        await connection.execute("select pg_advisory_unlock($1)", MIGRATION_LOCK)


async def must_fit(connection: asyncpg.Connection) -> None:
    """Raise NewerError if this program is too old for what the database has become."""
    newest = await connection.fetchrow(
        "select max(number) as number, max(oldest) as oldest from migrations"
    )
    mine = number()
    if newest is not None and newest["oldest"] is not None and newest["oldest"] > mine:
        raise NewerError(
            f"the database is at schema {newest['number']:04}, which programs work with from "
            f"{newest['oldest']:04} on, and this one is {mine:04}: run a newer ShieldX, or restore "
            "a backup from before the upgrade (docs/upgrades.md)"
        )


def _check(applied: dict[int, str], known: list[Migration]) -> None:
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise ChangedError(
                f"migration {migration.name} was applied in another form than this program's"
            )
    if later := [number for number in applied if number > known[-1].number]:
        logger.warning(
            "The database has been migrated to %04d by a newer program; this one, %04d, still "
            "works with it",
            max(later),
            known[-1].number,
        )


async def _apply(connection: asyncpg.Connection, migration: Migration, shard: str) -> None:
    async with connection.transaction():
        await _no_older(connection, migration)
        await connection.execute("select set_config('shieldx.shard', $1, true)", shard)
        await connection.execute(migration.sql)
        await connection.execute(
            "insert into migrations (number, name, checksum, oldest) values ($1, $2, $3, $4)",
            migration.number,
            migration.name,
            migration.checksum,
            migration.oldest,
        )
        reached(Step.MIGRATION_APPLIED)
    logger.info("Applied migration %s", migration.name)


async def _no_older(connection: asyncpg.Connection, migration: Migration) -> None:
    connected = await connection.fetch(
        "select distinct substring(application_name from $1)::integer as number "
        "from pg_stat_activity where datname = current_database() and application_name ~ $1",
        f"^{PROGRAM}([0-9]+)",
    )
    older = sorted(row["number"] for row in connected if row["number"] < migration.oldest)
    if older:
        raise OlderError(
            f"migration {migration.name} ends what programs before {migration.oldest:04} need, and "
            f"one of {older[0]:04} is connected: upgrade that to {migration.oldest:04} or end it "
            "first (docs/upgrades.md)"
        )
