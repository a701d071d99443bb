"""Watches whether the database's clock was set back.

The ledger's time never runs backwards: behind a clock that was set back it stands still until the
clock has caught up. Nothing is lost by that and every write is done, but nothing expires and
nothing begins meanwhile; so somebody must be told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from shieldx.ledger.model import MICROSECONDS
from shieldx.ledger.postgres import ShardUnavailableError

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 5.0
# A process whose clock runs a little ahead may date an entry as much as this before its time.
TOLERATED_SECONDS: Final = 1.0


class ClockWatch:
    """Looks every few seconds, and says when it begins and when it is over."""

    def __init__(self, clock_behind: Callable[[], Awaitable[int]]) -> None:
        self.behind_seconds = 0.0
        self._clock_behind = clock_behind
        self._told = False

    async def run(self) -> None:
        """Watch for ever; a database that is away has no time to tell."""
        while True:
            try:
                await self.once()
            except ShardUnavailableError as error:
                logger.debug("The database's clock cannot be read: %s", error)
            except Exception:
                logger.exception("Looking at the database's clock failed")
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        """Look once."""
        self.behind_seconds = await self._clock_behind() / MICROSECONDS
        behind = self.behind_seconds > TOLERATED_SECONDS
        if behind and not self._told:
            logger.error(
                "The database's clock is %.0f s behind the ledger's last entry: the ledger's time "
                "stands still until it has caught up, and nothing expires or begins meanwhile; "
                "set the clock of the database's machine right",
                self.behind_seconds,
            )
        elif self._told and not behind:
            logger.info("The ledger's time goes on")
        self._told = behind
