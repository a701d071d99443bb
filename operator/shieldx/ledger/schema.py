"""The numbered migrations that ship with the package, and how they are run.

They run before a process is ready, one process at a time under an advisory lock, each in a
transaction of its own. What has been applied is remembered with its checksum.

    SchemaError         this program and this database do not fit together
    ├── NewerError      the database has been migrated by a newer program
    └── ChangedError    an applied migration is not the one that ships with this program
"""

import hashlib
import logging
from dataclasses import dataclass
from importlib import resources
from typing import Final

import asyncpg

from shieldx.ledger.steps import Step, reached

logger = logging.getLogger(__name__)

# Any number, as long as it is always the same: "shieldx" read as base 36 digits would not fit.
MIGRATION_LOCK: Final = 0x5348_4945_4C44


class SchemaError(Exception):
    """Program and database do not fit together."""


class NewerError(SchemaError):
    """The database has been migrated by a newer program: run that one, or a newer."""


class ChangedError(SchemaError):
    """An applied migration is not the one that ships with this program."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return the migrations in the order in which they are applied."""
    folder = resources.files("shieldx.ledger") / "sql"
    files = sorted((f for f in folder.iterdir() if f.name[:4].isdigit()), key=lambda f: f.name)
    return [Migration(int(f.name[:4]), f.name, f.read_text(encoding="utf-8")) for f in files]


async def migrate(connection: asyncpg.Connection, shard: str) -> int:
    """Bring the database to this program's schema; return its version.

    Safe with any number of processes at once, and after a crash at any moment.
    """
    await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
    reached(Step.MIGRATION_LOCKED)
    try:
        await connection.execute(
            "create table if not exists migrations ("
            "number integer primary key, name text not null, checksum text not null, "
            "applied_at timestamptz not null default clock_timestamp())"
        )
        applied = {
            row["number"]: row["checksum"]
            for row in await connection.fetch("select number, checksum from migrations")
        }
        known = migrations()
        _check(applied, known)
        for migration in known:
            if migration.number not in applied:
                await _apply(connection, migration, shard)
        reached(Step.MIGRATED)
        return known[-1].number
    finally:
        await connection.execute("select pg_advisory_unlock($1)", MIGRATION_LOCK)


def _check(applied: dict[int, str], known: list[Migration]) -> None:
    if newer := sorted(set(applied) - {migration.number for migration in known}):
        raise NewerError(
            f"the database has migration {newer[-1]:04}, this program ends at "
            f"{known[-1].number:04}: run a newer ShieldX"
        )
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise ChangedError(
                f"migration {migration.name} was applied in another form than this program's"
            )


async def _apply(connection: asyncpg.Connection, migration: Migration, shard: str) -> None:
    async with connection.transaction():
        await connection.execute("select set_config('shieldx.shard', $1, true)", shard)
        await connection.execute(migration.sql)
        await connection.execute(
            "insert into migrations (number, name, checksum) values ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )
        reached(Step.MIGRATION_APPLIED)
    logger.info("Applied migration %s", migration.name)
