"""What a batch costs does not grow with the ledger, though its plans were made for empty tables."""

import asyncio

import asyncpg
import pytest

from shieldx.ledger import postgres
from shieldx.ledger.batcher import perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.operations import ISSUANCE, Commit, OpenAccount, Operation, Reserve, Transfer

pytestmark = pytest.mark.postgres

HOLDS = 3000
COMMITS = 200
READ = """
select t.seq_tup_read + sum(i.idx_tup_read)
from pg_stat_user_tables as t
inner join pg_stat_user_indexes as i on i.relid = t.relid
where t.relname = 'holds'
group by t.seq_tup_read
"""


async def test_a_hold_is_not_looked_for_among_all_holds_for_long(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PLANS_KEPT_BATCHES", 16)
    ledger = Ledger.open(dsn, "s0")
    await ledger.migrate()
    connection = await asyncpg.connect(dsn)
    await connection.execute("vacuum analyze")  # As after a restore: known to be empty.
    await ledger.start()

    async def do(key: str, operation: Operation) -> str:
        answer = await perform(ledger.batcher, "me", key, operation)
        assert answer.code == "created"
        return str(answer.body["id"])

    await do("open", OpenAccount(id="a"))
    await do("pay", Transfer(debit=ISSUANCE, credit="a", amount=HOLDS, kind="refill"))
    hold = Reserve(account="a", amount=1, timeout_seconds=60)
    holds = await asyncio.gather(*(do(f"hold {n}", hold) for n in range(HOLDS)))
    for hold_id in holds[:COMMITS]:
        await do(f"commit {hold_id}", Commit(hold=hold_id))
    await ledger.close()  # Its session's counts are seen when it has ended.

    read = await connection.fetchval(READ)
    await connection.close()
    assert COMMITS <= read < HOLDS * COMMITS / 4
