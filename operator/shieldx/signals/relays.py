"""What a ledger refused, as the relay in each pod has counted it: so it is known who asked.

The ledger itself cannot tell: both versions are one caller to it, with the same service account.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import aiohttp

from shieldx.resources.relay import LEDGER_ANNOTATION
from shieldx.signals.pods import PodsSource
from shieldx.signals.readings import (
    Counter,
    MetricSource,
    Pod,
    PodReadings,
    Problem,
    Question,
    Scrape,
    Trouble,
)

PATH: Final = "/metrics"


class RelaysSource:
    """Asks relays what is of a ledger, and another source everything else."""

    def __init__(self, session: aiohttp.ClientSession, others: MetricSource) -> None:
        self._session = session
        self._others = others

    async def scrape(
        self,
        questions: Sequence[Question],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        *,
        at: float,
    ) -> Scrape:
        """Read both at once; what one of them cannot say takes nothing from the other."""
        of_ledgers = [it for it in questions if isinstance(it, Counter) and it.ledger is not None]
        others = [it for it in questions if it not in of_ledgers]
        if not of_ledgers:
            return await self._others.scrape(questions, champion, challenger, at=at)
        async with asyncio.TaskGroup() as group:
            relays = group.create_task(self._ask(of_ledgers, [*champion, *challenger], at))
            rest = group.create_task(self._rest(others, champion, challenger, at))
        read, found = relays.result(), rest.result()

        champions, challengers = (
            {uid: PodReadings(it.pod, {**it.readings, **read[uid].readings}) for uid, it in arm}
            for arm in (found.champion.items(), found.challenger.items())
        )
        return Scrape(champions, challengers, early=found.early)

    async def _rest(
        self,
        questions: Sequence[Question],
        champion: Sequence[Pod],
        challenger: Sequence[Pod],
        at: float,
    ) -> Scrape:
        if questions:
            return await self._others.scrape(questions, champion, challenger, at=at)
        champions, challengers = (
            {it.uid: PodReadings(it, {}) for it in pods} for pods in (champion, challenger)
        )
        return Scrape(champions, challengers)

    async def _ask(
        self, questions: Sequence[Counter], pods: Sequence[Pod], at: float
    ) -> dict[str, PodReadings]:
        """Read the relays of the pods, each at its own port."""
        by_port: defaultdict[int, list[Pod]] = defaultdict(list)
        for pod in pods:
            if pod.relay_port is not None:
                by_port[pod.relay_port].append(pod)
        async with asyncio.TaskGroup() as group:
            rounds = [
                group.create_task(
                    PodsSource(self._session, port=port, path=PATH).scrape(
                        questions, some, [], at=at
                    )
                )
                for port, some in by_port.items()
            ]
        read = {uid: it for each in rounds for uid, it in each.result().champion.items()}
        return {
            pod.uid: PodReadings(
                pod,
                {
                    it.name: _problem(pod, it.ledger) or read[pod.uid].readings[it.name]
                    for it in questions
                },
            )
            for pod in pods
        }


def _problem(pod: Pod, ledger: str | None) -> Problem | None:
    """Say why a pod cannot tell what that ledger refused."""
    if pod.ledger == ledger and pod.relay_port is not None:
        return None
    has = "has no relay" if pod.ledger is None else f"names the ledger {pod.ledger}"
    message = (
        f"pod {pod.name} {has}, so it cannot be told what the ledger {ledger} refused it: annotate "
        f"the pod template with {LEDGER_ANNOTATION}: {ledger}"
    )
    return Problem(Trouble.NO_RELAY, message)
