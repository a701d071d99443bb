"""A batch that is decided as its jobs come, while the one before it is being stored.

So Postgres and this process work at the same time. What is decided here stands on a batch that
may yet come to nothing: then its jobs are decided again, and nobody has been told anything.
"""

from collections.abc import Sequence

from shieldx.ledger.draft import Draft
from shieldx.ledger.jobs import Job
from shieldx.ledger.model import decide_next
from shieldx.ledger.records import Answer, State
from shieldx.ledger.rows import rows_of


class Ahead:
    """Jobs in their order, their answers, and the draft of what they change."""

    def __init__(self, state: State, now: int) -> None:
        self.draft = Draft(state, now)
        self.jobs: list[Job] = []
        self.answers: list[list[Answer]] = []
        self.operations = 0
        # Of a batch that takes no more jobs.
        self.rows: list[object] | None = None

    def decide(self, jobs: Sequence[Job]) -> None:
        """Decide more jobs; whatever this raises leaves a draft that is of no use."""
        self.jobs += jobs
        self.operations += sum(len(job.operations) for job in jobs)
        self.answers += [decide_next(self.draft, job) for job in jobs]

    def close(self) -> None:
        """Take no more jobs, and make the rows while Postgres is busy with the last batch."""
        self.rows = rows_of(self.draft.state, self.draft.changes)
