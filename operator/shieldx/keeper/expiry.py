"""Settles accounts that time has changed: a hold or grant has expired, a grant has begun.

Time decides, not the keeper: an expired hold cannot be committed nor an expired grant be spent,
and whatever touches their account settles it first. The keeper only sees to it that accounts
which nobody touches are settled too.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from shieldx.ledger.jobs import Job
from shieldx.ledger.operations import Settle
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.records import SYSTEM_CALLER, Answer, Code
from shieldx.ledger.steps import Step, reached

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 1.0
AT_ONCE: Final = 1000


class Expiry:
    """Looks for due accounts every second and settles them by ordinary operations."""

    def __init__(
        self,
        due_accounts: Callable[[int], Awaitable[Sequence[str]]],
        submit: Callable[[Job], None],
    ) -> None:
        self.settled = 0
        self.failed = 0
        self.working = False
        self._due_accounts = due_accounts
        self._submit = submit

    async def run(self) -> None:
        """Settle what is due, for ever; a database that is away is waited for."""
        while True:
            try:
                found = await self.once()
                self.working = True
            except ShardUnavailableError as error:
                found, self.working = 0, False
                logger.warning("Due accounts cannot be read: %s", error)
            except Exception:
                found, self.working = 0, False
                logger.exception("Looking for due accounts failed")
            # More than one page is due: go on at once.
            await asyncio.sleep(0 if found >= AT_ONCE else EVERY_SECONDS)

    async def once(self) -> int:
        """Settle up to a page of due accounts; return how many were due."""
        due = await self._due_accounts(AT_ONCE)
        if not due:
            return 0
        reached(Step.EXPIRY_FOUND)
        answered: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()

        def done(answers: Sequence[Answer]) -> None:
            if not answered.cancelled():
                answered.set_result(answers)

        operations = [Settle(account=account) for account in due]
        keys = [None] * len(operations)
        self._submit(Job(SYSTEM_CALLER, operations, keys, atomic=False, done=done))
        expired = await answered
        reached(Step.EXPIRY_ANSWERED)
        for answer in expired:
            self._count(answer)
        return len(due)

    def _count(self, answer: Answer) -> None:
        match answer.code:
            case Code.CREATED:
                self.settled += 1
            case Code.OUTCOME_UNKNOWN | Code.SHARD_UNAVAILABLE | Code.OVERLOADED:
                # It is still due, or was settled: the next look tells.
                self.failed += 1
            case code:
                self.failed += 1
                logger.error("A due account could not be settled: %s", code)
