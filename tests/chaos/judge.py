"""What is left when the dust has settled: is every acknowledged write there once, and nothing else.

The judge believes the journal and the tables, not the ledger: balances are added up anew from what
the customers were told.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import asyncpg

from tests.chaos.history import effects, first_fault, histories
from tests.chaos.journal import Asked, Journal, Pen
from tests.chaos.programs import RIVAL
from tests.chaos.world import Scene
from tests.support.api import Client

BREAKAGE: Final = "system/breakage"
SETTLE_SECONDS: Final = 60.0
LAPSE_SECONDS: Final = 30.0
POISON: Final = "poison-"
SHOWN_PROBLEMS: Final = 5


@dataclass(slots=True)
class Judgement:
    """The figures of one trial, and everything that is wrong."""

    acknowledged: int = 0
    unsettled: int = 0  # keys without an answer when the load ended
    had_been_done: int = 0  # of those: what the database had done, and nobody knew
    in_flight: list[int] = field(default_factory=list)  # at each fault
    silence_seconds: float = 0.0
    entries: str = ""
    problems: list[str] = field(default_factory=list)


async def judge(scene: Scene, *, holds_expire: bool = False) -> Judgement:
    """End the load, settle every key that is open, and look at everything."""
    await scene.stop_load()
    journal = scene.journal()
    judgement = Judgement(
        in_flight=[
            max(journal.in_flight(moment), journal.waiting(moment)) for moment in scene.faults
        ],
        silence_seconds=journal.longest_silence(),
    )
    await _settle(scene, journal, judgement)
    journal = scene.journal()
    judgement.acknowledged = journal.acknowledged
    problems = judgement.problems
    problems += journal.problems
    problems += _answered_alike(journal)
    problems += await _stored(scene.dsn, journal)
    for account, (events, refusals) in histories(journal).items():
        if fault := first_fault(events, refusals, holds_expire=holds_expire):
            problems.append(f"the history of {account} is not linearizable: {fault}")
    judgement.entries = await _verified(scene, problems)
    return judgement


async def _settle(scene: Scene, journal: Journal, judgement: Judgement) -> None:
    pen = Pen(scene.journal_file)
    opened = [asked for asked in journal.open() if not asked.key.startswith(POISON)]
    judgement.unsettled = len(opened)
    async with asyncio.timeout(SETTLE_SECONDS):
        for asked in opened:
            judgement.had_been_done += await _settle_one(scene.ports[0], asked, pen)


async def _settle_one(port: int, asked: Asked, pen: Pen) -> bool:
    """Ask by the same key until it is answered; return whether it had been decided before."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with Client(port) as client:
                pen.sent(asked.key, asked.path, asked.body)
                response = await client.post(asked.path, asked.body, asked.key)
                replayed = response.fields.get("idempotency-replayed") == "true"
                pen.answered(asked.key, response.status, response.body, replayed=replayed)
                if response.status not in {500, 503}:
                    return replayed
        await asyncio.sleep(0.05)


def _answered_alike(journal: Journal) -> Iterator[str]:
    """See that no key was answered in two ways, and that poison was never swallowed."""
    for asked in journal.asked.values():
        outcome = asked.outcome
        if asked.key.startswith(POISON):
            # Whose account was short by then was refused before the database could.
            if outcome is not None and outcome.status != HTTPStatus.PAYMENT_REQUIRED:
                yield f"{asked.key} was answered {outcome.status}"
            continue
        for said in asked.answers:
            if said.final and outcome is not None and said.body != outcome.body:
                yield f"{asked.key} was answered {outcome.body}, and then {said.body}"


async def _stored(dsn: str, journal: Journal) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        open_lots = await _open_lots(connection)
        entries = await connection.fetch(
            "select key, code from entries where key is not null and caller not in ('system', $1)",
            RIVAL,
        )
        transfers = await connection.fetch(
            "select 'tx_' || h.shard || '_' || t.seq as id, t.debit, t.credit, t.amount, t.kind "
            "from transfers as t cross join head as h"
        )
        balances = await connection.fetch("select id, balance from accounts where id <> $1", RIVAL)
    finally:
        await connection.close()
    lapses = [row for row in transfers if row["kind"] == "expiry"]
    return [
        *_each_key_once(journal, entries),
        *_each_transfer_once(journal, [row for row in transfers if row["kind"] != "expiry"]),
        *_lapsed(journal, lapses, open_lots),
        *_balances_add_up(journal, dict(map(tuple, balances)), lapses),
    ]


async def _open_lots(connection: asyncpg.Connection) -> list[str]:
    """Wait until every lot that has an end is over, and return those that never are.

    None of the load lives longer than some seconds, and a keeper looks every second.
    """
    until = time.monotonic() + LAPSE_SECONDS
    while True:
        rows = await connection.fetch(
            "select id from grants where state = 'active' and expires_at is not null"
        )
        if not rows or time.monotonic() > until:
            return [row["id"] for row in rows]
        await asyncio.sleep(0.2)


def _each_key_once(journal: Journal, entries: list[asyncpg.Record]) -> Iterator[str]:
    found = Counter(entry["key"] for entry in entries)
    codes = {entry["key"]: entry["code"] for entry in entries}
    for key in found:
        if key not in journal.asked:
            yield f"{key} is in the chain, and nobody sent it"
    for asked in journal.asked.values():
        outcome = asked.outcome
        expected = 0 if outcome is None else 1
        if found[asked.key] != expected:
            yield f"{asked.key} is in the chain {found[asked.key]} times instead of {expected}"
        elif outcome is not None and (codes[asked.key] == "created") != outcome.done:
            yield f"{asked.key} was answered {outcome.status}, its entry says {codes[asked.key]}"


def _each_transfer_once(journal: Journal, transfers: list[asyncpg.Record]) -> Iterator[str]:
    """See that what the customers were told of transfers is what there is, one to one."""
    stored = {row["id"]: (row["debit"], row["credit"], row["amount"]) for row in transfers}
    told: Counter[str] = Counter()
    for asked, result in _done(journal):
        moved = effects(result)
        if not moved:
            continue
        name = str(result.get("transfer") or result["id"])
        told[name] += 1
        debit, credit, amount = stored.get(name, ("", "", 0))
        if moved != {debit: -amount, credit: amount}:
            yield f"{asked.key}: its transfer {name} is stored as {debit} → {credit} {amount}"
    for name, times in told.items():
        if times > 1:
            yield f"transfer {name} is the answer to {times} keys"
    for name in stored.keys() - told.keys():
        yield f"transfer {name} {stored[name]} was never acknowledged by any key"


def _lapsed(journal: Journal, lapses: list[asyncpg.Record], open_lots: list[str]) -> Iterator[str]:
    """See that nothing lapsed that was not granted to lapse, and that what must has lapsed."""
    mortal: Counter[str] = Counter()
    for _, result in _done(journal):
        if result.get("expires_at") and "effective_at" in result:
            mortal[str(result["account"])] += int(str(result["amount"]))
    lapsed: Counter[str] = Counter()
    for row in lapses:
        lapsed[row["debit"]] += row["amount"]
        if row["credit"] != BREAKAGE:
            yield f"{row['id']} lapsed to {row['credit']}"
    for account, amount in lapsed.items():
        if amount > mortal[account]:
            yield f"{amount} lapsed of {account}, which was granted {mortal[account]} that may"
    for lot in open_lots:
        yield f"{lot} is open long after its time"


def _balances_add_up(
    journal: Journal, stored: dict[str, int], lapses: list[asyncpg.Record]
) -> Iterator[str]:
    expected: Counter[str] = Counter()
    for row in lapses:
        expected[row["debit"]] -= row["amount"]
        expected[row["credit"]] += row["amount"]
    for _, result in _done(journal):
        for account, moved in effects(result).items():
            expected[account] += moved
    for account, balance in stored.items():
        if balance != expected[account]:
            yield f"account {account} has {balance}, its customers were told {expected[account]}"
    if total := sum(stored.values()):
        yield f"the balances add up to {total}"


def _done(journal: Journal) -> Iterator[tuple[Asked, dict[str, object]]]:
    for asked in journal.asked.values():
        if (outcome := asked.outcome) is not None and outcome.done:
            for result in outcome.body.get("results", [outcome.body]):
                yield asked, result


async def _verified(scene: Scene, problems: list[str]) -> str:
    """Run `shieldx ledger verify` as a person would, and return what it says."""
    file = scene.folder / "dsn"
    file.write_text(scene.dsn)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "shieldx", "ledger", "verify", f"--dsn-file={file}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said = (await process.communicate())[0].decode().strip()
    if process.returncode:
        problems.append(f"verify exits with {process.returncode}: {said}")
    return said


def assert_clean(judgement: Judgement) -> None:
    """Fail with the first problems, if there are any."""
    shown = "\n".join(judgement.problems[:SHOWN_PROBLEMS])
    assert not judgement.problems, f"{len(judgement.problems)} problems:\n{shown}"
