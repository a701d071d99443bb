"""Settles holds whose time has passed.

Time decides, not the keeper: an expired hold cannot be committed and whatever touches its account
settles it first. The keeper only sees to it that accounts which nobody touches are settled too.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from shieldx.ledger.batcher import Job
from shieldx.ledger.operations import Expire
from shieldx.ledger.postgres import ShardUnavailableError
from shieldx.ledger.records import SYSTEM_CALLER, Answer, Code
from shieldx.ledger.steps import Step, reached

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 1.0
AT_ONCE: Final = 1000


class Expiry:
    """Looks for due holds every second and expires them by ordinary operations."""

    def __init__(
        self,
        due_holds: Callable[[int], Awaitable[Sequence[str]]],
        submit: Callable[[Job], None],
    ) -> None:
        self.expired = 0
        self.failed = 0
        self.working = False
        self._due_holds = due_holds
        self._submit = submit

    async def run(self) -> None:
        """Expire what is due, for ever; a database that is away is waited for."""
        while True:
            try:
                found = await self.once()
                self.working = True
            except ShardUnavailableError as error:
                found, self.working = 0, False
                logger.warning("Due holds cannot be read: %s", error)
            except Exception:
                found, self.working = 0, False
                logger.exception("Looking for due holds failed")
            # More than one page is due: go on at once.
            await asyncio.sleep(0 if found >= AT_ONCE else EVERY_SECONDS)

    async def once(self) -> int:
        """Expire up to a page of due holds; return how many were due."""
        due = await self._due_holds(AT_ONCE)
        if not due:
            return 0
        reached(Step.EXPIRY_FOUND)
        answered: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()

        def done(answers: Sequence[Answer]) -> None:
            if not answered.cancelled():
                answered.set_result(answers)

        operations = [Expire(hold=hold) for hold in due]
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
                self.expired += 1
            case Code.OUTCOME_UNKNOWN | Code.SHARD_UNAVAILABLE | Code.OVERLOADED:
                # It is still due, or was expired: the next look tells.
                self.failed += 1
            case Code.HOLD_ALREADY_COMMITTED | Code.HOLD_ALREADY_VOIDED | Code.HOLD_EXPIRED:
                # Somebody was faster, which is fine.
                return
            case code:
                self.failed += 1
                logger.error("A due hold could not be expired: %s", code)
