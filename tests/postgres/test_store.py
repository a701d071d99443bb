"""What `store` refuses, and that it keeps the bytes that it was given."""

import asyncpg
import pytest
from msgspec.structs import replace

from shieldx.ledger.batcher import perform
from shieldx.ledger.ledger import Ledger
from shieldx.ledger.model import MICROSECONDS, Code, Request, decide, merge
from shieldx.ledger.operations import (
    BREAKAGE,
    ISSUANCE,
    REVENUE,
    Commit,
    Grant,
    OpenAccount,
    Operation,
    Reserve,
    Settle,
    Transfer,
)
from shieldx.ledger.postgres import BreachError, Shard, StaleError
from shieldx.ledger.rows import rows_of
from shieldx.ledger.verify import verify
from tests.support.loading import known

pytestmark = pytest.mark.postgres


@pytest.fixture
async def shard(dsn: str) -> Shard:
    await Ledger.open(dsn, "s0").migrate()
    return await Shard.open(dsn, "s0")


def refill(amount: int = 5) -> Request:
    operation = Transfer(debit=ISSUANCE, credit="a", amount=amount, metadata={"für": "Überweisung"})
    return Request("caller", [operation], ["schlüssel"])


async def test_bytes_are_kept_whatever_letters_they_spell(dsn: str, shard: Shard) -> None:
    state = await known(shard, ISSUANCE, "a")
    opening = Request("caller", [OpenAccount(id="a", metadata={"名": "ü\n\t"})], ["k"])

    answers, changes = decide(state, [opening, refill()], state.head.at + 1)
    await shard.store(rows_of(state, changes))

    assert [one.code for (one,) in answers] == [Code.CREATED, Code.CREATED]
    assert (await verify(dsn)).problem is None
    await shard.close()


async def test_a_row_that_changed_behind_its_back_is_noticed(dsn: str, shard: Shard) -> None:
    state = await known(shard, ISSUANCE, "a")
    _, opened = decide(state, [Request("caller", [OpenAccount(id="a")], ["k"])], 1)
    await shard.store(rows_of(state, opened))
    state = await known(shard, ISSUANCE, "a")
    _, changes = decide(state, [refill()], state.head.at)
    other = await asyncpg.connect(dsn)
    await other.execute("update accounts set version = version + 1 where id = 'a'")
    await other.close()

    with pytest.raises(StaleError, match="account has changed"):
        await shard.store(rows_of(state, changes))

    assert (await known(shard)).head == state.head
    await shard.close()


async def test_a_balance_that_nobody_gave_stops_the_process(shard: Shard, dsn: str) -> None:
    state = await known(shard, ISSUANCE, "a")
    _, opened = decide(state, [Request("caller", [OpenAccount(id="a")], ["k"])], 1)
    await shard.store(rows_of(state, opened))
    state = await known(shard, ISSUANCE, "a")
    _, changes = decide(state, [refill()], state.head.at)
    other = await asyncpg.connect(dsn)
    await other.execute("update accounts set balance = balance + 1 where id = 'a'")
    await other.close()

    with pytest.raises(BreachError, match="not what its version had") as breach:
        await shard.store(rows_of(state, changes))

    assert breach.value.fatal
    await shard.close()


async def test_a_batch_that_makes_money_stops_the_process(shard: Shard) -> None:
    state = await known(shard, ISSUANCE, "a")
    _, opened = decide(state, [Request("caller", [OpenAccount(id="a")], ["k"])], 1)
    await shard.store(rows_of(state, opened))
    state = await known(shard, ISSUANCE, "a")
    _, changes = decide(state, [refill()], state.head.at)
    account = changes.accounts["a"]
    changes.accounts["a"] = replace(account, balance=account.balance + 1)

    with pytest.raises(BreachError, match="makes or loses 1") as breach:
        await shard.store(rows_of(state, changes))

    assert breach.value.fatal
    await shard.close()


async def test_a_hold_is_in_the_history_beside_transfers_as_many_as_entries(
    dsn: str, shard: Shard
) -> None:
    """A commit whose grant is over makes two transfers, which must not hide the hold's change."""
    state = await known(shard, ISSUANCE, REVENUE, BREAKAGE, "a", "b")
    expiry = state.head.at + 100 * MICROSECONDS

    async def perform(at: int, *operations: Operation) -> list[str]:
        requests = [Request("caller", [one], [None]) for one in operations]
        answers, changes = decide(state, requests, at)
        await shard.store(rows_of(state, changes))
        merge(state, changes)
        return [str(one.body.get("id")) for (one,) in answers]

    await perform(
        state.head.at + 1,
        OpenAccount(id="a"),
        OpenAccount(id="b"),
        Transfer(debit=ISSUANCE, credit="a", amount=10),
        Grant(account="b", amount=10, expires_at=expiry),
    )
    (hold,) = await perform(expiry - 1, Reserve(account="b", amount=10, timeout_seconds=60))
    await perform(expiry, Settle(account="b"))

    seq, position = state.head.seq, state.head.position
    reserve = Reserve(account="a", amount=1, timeout_seconds=60)
    await perform(expiry + 1, reserve, Commit(hold=hold, amount=4))

    assert (state.head.seq - seq, state.head.position - position) == (2, 2)
    connection = await asyncpg.connect(dsn)
    told = await connection.fetch("select version, held from figures where account = 'a'")
    assert [*map(tuple, told)][-1] == (3, 1)
    assert (await verify(dsn)).problem is None
    await connection.close()
    await shard.close()


async def test_holds_are_of_the_past_too_where_no_account_is_known_any_more(
    shard: Shard, dsn: str
) -> None:
    """Found by the engines' machine: after catching up, one may know a hold and no account."""
    state = await known(shard, ISSUANCE)
    state.head = replace(state.head, position=1)
    state.accounts.clear()
    state.posted["tx_s0_1"] = None
    other = Ledger.open(dsn, "s0")
    await other.start()
    for name in "ab":
        await perform(other.batcher, "her", f"open-{name}", OpenAccount(id=name))
    await other.close()

    with pytest.raises(StaleError, match="the chain is at 2, not at 1"):
        await shard.load(
            state,
            accounts=("a",),
            grants=(),
            holds=(),
            transfers=(),
            references=(),
            keys=(),
            due=(),
            now=0,
        )
    await shard.close()
