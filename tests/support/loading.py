"""What a shard knows of some accounts: where a test of `store` begins."""

from shieldx.ledger.postgres import Shard
from shieldx.ledger.records import State


async def known(shard: Shard, *accounts: str) -> State:
    """Return the state with these accounts loaded."""
    state = State("s0")
    await shard.load(
        state,
        accounts=accounts,
        grants=(),
        holds=(),
        transfers=(),
        references=(),
        keys=(),
        due=(),
        now=0,
    )
    return state
