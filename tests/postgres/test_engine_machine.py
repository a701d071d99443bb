"""One to four engines at once on a real PostgreSQL do what the core says, whatever befalls them.

After every step the database is what the core says, and every answer fits one order of events.
Hypothesis draws what happens and shrinks what goes wrong. `ENGINE_EXAMPLES=2000` draws more, each
time others.
"""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from shieldx.ledger.model import Answer, Code, Request
from shieldx.ledger.operations import OpenAccount, Operation, Settle
from tests.support import wishes
from tests.support.engines import BEGINNING, Engines, Told
from tests.support.proxy import Fault
from tests.support.scribe import Figures, Scribe, singles, text

pytestmark = pytest.mark.postgres

MORE: Final = os.environ.get("ENGINE_EXAMPLES")
WITHOUT_WORD: Final = (Code.SHARD_UNAVAILABLE, Code.OUTCOME_UNKNOWN)

names = st.sampled_from(wishes.NAMES)
processes = st.integers(0, 3)
faults = st.sampled_from([Fault.CUT_BEFORE, Fault.CUT_DURING, Fault.CUT_AFTER])


class EnginesMachine(RuleBasedStateMachine):
    """Lets processes work, alone and at once, cuts and forgets, and compares."""

    server: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.engines = Engines(self.server)
        self.scribe = Scribe(BEGINNING)
        self.asked: list[Request] = []
        self.used = 0

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(number=st.integers(1, 4))
    def start(self, number: int) -> None:
        self.run(self.engines.start(number))
        for name in wishes.NAMES[:3]:
            self.step([(0, self.request(OpenAccount(id=name)))])

    def teardown(self) -> None:
        try:
            if self.engines.engines:
                problem = self.run(self.engines.stop())
                assert problem is None, problem
        finally:
            self.runner.close()

    @rule(data=st.data(), process=processes)
    def one_alone(self, data: st.DataObject, process: int) -> None:
        self.step([(process, self.drawn(data))])

    @rule(data=st.data(), number=st.integers(2, 5), name=names)
    def several_at_once(self, data: st.DataObject, number: int, name: str) -> None:
        asked = [(data.draw(processes), self.drawn(data)) for _ in range(number)]
        self.step(asked, name)

    @rule(data=st.data(), processes=st.lists(processes, min_size=2, max_size=4))
    def the_same_by_several(self, data: st.DataObject, processes: list[int]) -> None:
        request = self.drawn(data)
        self.step([(process, request) for process in processes])

    @rule(data=st.data(), process=processes, other=processes, fault=faults)
    def a_connection_is_cut(
        self, data: st.DataObject, process: int, other: int, fault: Fault
    ) -> None:
        request = self.drawn(data)
        (key, *_) = request.keys
        assert key is not None
        proxy = self.engines.engines[self.which(process)].proxy
        proxy.arm(fault, key.encode())
        self.step([(process, request), (other, self.drawn(data))])
        proxy.arm(Fault.NONE, b"")
        self.wait(1)

    @rule(process=processes)
    def an_idle_connection_is_cut(self, process: int) -> None:
        proxy = self.engines.engines[self.which(process)].proxy
        proxy.shut()
        proxy.open()
        self.wait(1)

    @rule(process=processes)
    def a_process_forgets(self, process: int) -> None:
        self.engines.engines[self.which(process)].batcher._forget()

    @rule(process=processes)
    def a_process_is_killed_and_replaced(self, process: int) -> None:
        self.run(self.engines.restart(self.which(process)))

    @rule(process=processes, seconds=st.sampled_from([0.3, 0.9, 1.5]))
    def a_clock_runs_ahead(self, process: int, seconds: float) -> None:
        self.engines.engines[self.which(process)].ahead += seconds

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.run(self.engines.pass_time(seconds))
        self.scribe.clock = self.engines.now
        self.scribe.explain([])

    @rule(process=processes, name=names)
    def the_keeper_settles(self, process: int, name: str) -> None:
        request = Request("system", (Settle(account=name),), (None,))
        self.run(self.engines.submit(self.which(process), request))
        self.explain()

    @rule(data=st.data(), process=processes)
    def a_rehearsal(self, data: st.DataObject, process: int) -> None:
        before = self.scribe.position
        self.run(self.engines.submit(self.which(process), self.drawn(data), dry=True))
        self.explain()
        assert self.scribe.position == before

    def which(self, process: int) -> int:
        return process % len(self.engines.engines)

    def drawn(self, data: st.DataObject) -> Request:
        """Draw something new, something asked before, or something else under a used key."""
        again = data.draw(st.integers(0, 9), label="again")
        if again in {7, 8} and self.asked:
            return wishes.recent(data, self.asked)
        number = data.draw(st.sampled_from([1, 1, 1, 2, 3]), label="operations")
        state, now = self.scribe.book.state, self.engines.now
        operations = [wishes.operation(data, state, now) for _ in range(number)]
        request = self.request(*operations, atomic=number > 1 and data.draw(st.booleans()))
        if again == 9 and self.asked:
            used = wishes.recent(data, self.asked)
            keys = (used.keys[0], *request.keys[1:])
            request = Request(used.caller, request.operations, keys, request.atomic)
        self.asked.append(request)
        return request

    def request(self, *operations: Operation, atomic: bool = False) -> Request:
        """Return a request under new keys."""
        count = 1 if atomic else len(operations)
        keys = tuple(f"key-{self.used + n}." for n in range(count))
        self.used += count
        return Request("me", operations, keys, atomic)

    def step(self, asked: list[tuple[int, Request]], name: str | None = None) -> None:
        """Let all of it happen at once, and judge what everybody was told."""
        for _, request in asked:
            self.scribe.heard(request)
        begun = self.scribe.position
        told, read = self.run(self.at_once(asked, name))
        known = dict(self.scribe.by_key)
        self.explain()
        for one in told:
            self.judge(one)
        self.judge_keys(told, set(known))
        if read is not None:
            # It shows all that had been answered when it was asked for, or more.
            asked_at, name, seen = read
            before = [self.position_of(one) for one in told if one.answered < asked_at]
            since = max([begun, *before])
            window = [f for position, f in self.scribe.seen.items() if position >= since]
            assert seen.get(name) in [figures.get(name) for figures in window]

    async def at_once(
        self, asked: list[tuple[int, Request]], name: str | None
    ) -> tuple[list[Told], tuple[int, str, Figures] | None]:
        tasks = [
            asyncio.ensure_future(self.engines.submit(self.which(process), request))
            for process, request in asked
        ]
        async with asyncio.timeout(60):
            read = None
            if name is not None:
                await asyncio.wait(tasks[:1], timeout=0.002)
                read = (*await self.engines.balances(name), name)
            told = list(await asyncio.gather(*tasks))
        return told, None if read is None else (read[0], read[2], read[1])

    def position_of(self, told: Told) -> int:
        """Return up to where the chain must have been when this was answered."""
        had = [
            self.scribe.by_key.get((single.caller, str(single.keys[0])))
            for single, answers in _by_key(told)
            if answers[0].code not in WITHOUT_WORD
        ]
        return max((one.position for one in had if one is not None), default=0)

    def judge(self, told: Told) -> None:
        """Hold what was answered against what the chain has under the key."""
        for single, answers in _by_key(told):
            if answers[0].code in WITHOUT_WORD:
                continue
            (key,) = single.keys
            assert key is not None
            had = self.scribe.by_key.get((single.caller, key))
            assert had is not None, (single, answers)
            if had.text == text(single):
                assert [(a.code, a.body) for a in answers] == [
                    (a.code, a.body) for a in had.answers
                ], single
            else:
                assert {a.code for a in answers} == {Code.IDEMPOTENCY_KEY_REUSED}, single

    def judge_keys(self, told: list[Told], known: set[tuple[str, str]]) -> None:
        """A key is used once, by a submission that was told so or was told nothing."""
        users: dict[tuple[str, str], list[Answer]] = {}
        for one in told:
            for single, answers in _by_key(one):
                (key,) = single.keys
                assert key is not None
                users.setdefault((single.caller, key), []).append(answers[0])
        for who, answers in users.items():
            did = [
                a
                for a in answers
                if not a.replayed and a.code not in {*WITHOUT_WORD, Code.IDEMPOTENCY_KEY_REUSED}
            ]
            lost = [a for a in answers if a.code is Code.OUTCOME_UNKNOWN]
            is_new = who in self.scribe.by_key and who not in known
            assert len(did) <= is_new, (who, answers)
            assert did or lost or not is_new, (who, answers)

    def explain(self) -> None:
        self.scribe.explain(self.run(self.engines.entries(self.scribe.position)))

    @invariant()
    def the_database_is_what_the_core_says(self) -> None:
        if not self.engines.engines:
            return
        state = self.scribe.book.state
        accounts = self.run(self.engines.table("accounts"))
        for name, account in state.accounts.items():
            if account is None:
                continue
            row = accounts.pop(name)
            stored = (row["balance"], row["held"], row["version"], row["state"], row["lots"])
            assert stored == (
                account.balance,
                account.held,
                account.version,
                account.state,
                account.lots,
            ), name
            assert (row["alert"], row["alerted"]) == (account.alert, account.alerted), name
        assert not accounts
        for table, known, columns in (
            ("grants", state.lots, ("remaining", "held", "state", "version", "account")),
            ("holds", state.holds, ("remaining", "committed", "state", "version", "account", "to")),
        ):
            rows = self.run(self.engines.table(table))
            assert {n: [row[c] for c in columns] for n, row in rows.items()} == {
                n: [getattr(one, c) for c in columns] for n, one in known.items() if one
            }
        transfers = self.run(self.engines.table("transfers"))
        assert {
            n: (t["debit"], t["credit"], t["amount"], t["reversed"]) for n, t in transfers.items()
        } == {
            one.seq: (one.debit, one.credit, one.amount, one.reversed)
            for one in state.posted.values()
            if one
        }


def _by_key(told: Told) -> list[tuple[Request, list[Answer]]]:
    parts = singles(told.request)
    if told.request.atomic:
        return [(parts[0], list(told.answers))]
    return [(part, [answer]) for part, answer in zip(parts, told.answers, strict=True)]


@pytest.mark.timeout(3600)
def test_engines_at_once_do_what_the_core_says(server_dsn: str) -> None:
    asyncio.run(Engines.prepare(server_dsn))

    class Machine(EnginesMachine):
        server = server_dsn

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=int(MORE or 40),
            stateful_step_count=30,
            derandomize=MORE is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
