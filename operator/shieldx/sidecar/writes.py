"""The calls that change the ledger: decoded, judged, given to the batcher, answered by callback.

Nothing on this path makes a Task. Only where the caller's rights depend on a hold's or transfer's
accounts that this process has not seen yet, they are looked up first.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import batched
from typing import Any, Final

import msgspec

from shieldx.ledger import operations as ops
from shieldx.ledger.jobs import Job
from shieldx.ledger.records import Answer, Code
from shieldx.sidecar import answers, normalise, wire
from shieldx.sidecar.auth import Caller
from shieldx.sidecar.config import Holds
from shieldx.sidecar.decoding import ShapeError, TooManyOperationsError, decode_batch
from shieldx.sidecar.exchange import Exchange, encode
from shieldx.sidecar.parties import Known, Parties
from shieldx.sidecar.query import parse_query
from shieldx.sidecar.rights import Refusal, judge, missing_scope, parties_wanted
from shieldx.sidecar.router import Match
from shieldx.sidecar.singles import READERS
from shieldx.sidecar.throttle import NOBODY, Refused, Throttle, account_of

LONGEST_KEY: Final = 255
UNAVAILABLE: Final = "The database does not answer; try again."
JOB_OPERATIONS: Final = 50

# What an operation of a batch can be before the ledger has seen it.
REFUSED: Final = (Refusal, ShapeError)

type Heard = Callable[[Sequence[Answer]], None]
type Outcome = ops.Operation | Refusal | ShapeError


class Writes:
    """Turns requests into jobs of the batcher, and the batcher's answers into responses."""

    def __init__(
        self,
        *,
        submit: Callable[[Job], None],
        heard: Heard,
        parties: Parties,
        throttle: Throttle,
        acknowledged: Heard,
        refused: Callable[[str], None],
    ) -> None:
        self.holds = Holds()
        self._submit = submit
        self._heard = heard
        self._parties = parties
        self._throttle = throttle
        self._acknowledged = acknowledged
        self._refused = refused

    def single(self, exchange: Exchange, caller: Caller, match: Match) -> None:
        """Serve a call that is one operation."""
        call = match.call
        if call.scope is not None and call.scope not in caller.scopes:
            answers.refuse_by(exchange, missing_scope(call.scope))
            return
        try:
            key = idempotency_key(exchange.key)
            dry = bool(exchange.query) and dry_run(exchange.query)
            operation = READERS[call.name](match, exchange.body, self.holds)
        except ShapeError as error:
            answers.refuse_shape(exchange, error)
            return

        done = partial(self._answered, exchange, caller, call.status, dry)
        job = Job(caller.identity, (operation,), (key,), done=done, dry=dry)
        account = account_of(operation)
        if self._throttle.passes(caller, account):
            self._admitted(exchange, caller, operation, job)
            return
        then = partial(self._admitted, exchange, caller, operation, job)
        self._throttle.admit(exchange, caller, then, accounts=(account,))

    def _answered(
        self,
        exchange: Exchange,
        caller: Caller,
        status: int,
        dry: bool,  # noqa: FBT001 - bound once for each request, on the hot path.
        given: Sequence[Answer],
    ) -> None:
        (answer,) = self._learned(caller, given, dry=dry)
        answers.give(exchange, caller, answer, status)

    def _admitted(
        self, exchange: Exchange, caller: Caller, operation: ops.Operation, job: Job
    ) -> None:
        wanted = parties_wanted(caller, operation)
        if wanted is not None:
            self._judge_by_parties(exchange, caller, operation, job, wanted)
        elif (refusal := judge(caller, operation)) is None:
            self._submit(job)
        else:
            answers.refuse_by(exchange, refusal)

    def _judge_by_parties(
        self,
        exchange: Exchange,
        caller: Caller,
        operation: ops.Operation,
        job: Job,
        wanted: str,
    ) -> None:
        def found(known: Known, error: Exception | None) -> None:
            if error is not None:
                _unavailable(exchange)
            elif (refusal := judge(caller, operation, known.get(wanted, ()))) is None:
                self._submit(job)
            else:
                answers.refuse_by(exchange, refusal)

        self._parties.find((wanted,), found)

    def batch(self, exchange: Exchange, caller: Caller, _: Match) -> None:
        """Serve up to 1,000 operations, singly or all or nothing."""
        try:
            key, dry = idempotency_key(exchange.key), dry_run(exchange.query)
            atomic, items = decode_batch(exchange.body)
            outcomes, keys = self._normalise(items, key, atomic=atomic)
        except ShapeError as error:
            answers.refuse_shape(exchange, error)
            return
        except TooManyOperationsError:
            message = f"Send at most {wire.MAX_OPERATIONS} operations; make it several batches."
            exchange.refuse("too_many_operations", message, {"limit": wire.MAX_OPERATIONS})
            return

        def admitted(refused: Refused = NOBODY) -> None:
            within = _within(refused, outcomes) if refused else outcomes
            wanted = [
                identity
                for outcome in within
                if not isinstance(outcome, REFUSED)
                and (identity := parties_wanted(caller, outcome)) is not None
            ]

            def found(known: Known, error: Exception | None) -> None:
                if error is not None and atomic:
                    _unavailable(exchange)
                    return
                missing = error is not None
                judged = [_judged(caller, outcome, known, missing=missing) for outcome in within]
                if atomic:
                    self._together(exchange, caller, key, judged, dry=dry)
                else:
                    self._singly(exchange, caller, keys, judged, dry=dry)

            self._parties.find(wanted, found)

        # What has no shape costs nothing, here as alone.
        accounts = [account_of(one) for one in outcomes if not isinstance(one, REFUSED)]
        if not accounts:
            admitted()
        elif atomic:
            cost = len(accounts)
            self._throttle.admit(exchange, caller, admitted, cost=cost, accounts=accounts)
        else:
            self._throttle.admit_each(exchange, caller, admitted, accounts)

    def _normalise(
        self, items: Sequence[wire.Item | ShapeError], key: str, *, atomic: bool
    ) -> tuple[list[Outcome], list[str]]:
        outcomes: list[Outcome] = []
        keys: list[str] = []
        for index, item in enumerate(items):
            own = getattr(item, "idempotency_key", msgspec.UNSET)
            keys.append(f"{key}#{index}" if own is msgspec.UNSET else own)
            if atomic and own is not msgspec.UNSET:
                message = "an atomic batch has the header's key only"
                outcomes.append(ShapeError("idempotency_key", message))
            else:
                outcomes.append(self._normal(item))
        return outcomes, keys

    def _normal(self, item: wire.Item | ShapeError) -> Outcome:
        if isinstance(item, ShapeError):
            return item
        try:
            return normalise.item(item, self.holds)
        except ShapeError as error:
            return error

    def _singly(
        self,
        exchange: Exchange,
        caller: Caller,
        keys: list[str],
        judged: list[Outcome],
        *,
        dry: bool,
    ) -> None:
        """Give the ledger what may be done, and put the rest's refusals in their places."""
        accepted = [
            (index, outcome)
            for index, outcome in enumerate(judged)
            if not isinstance(outcome, REFUSED)
        ]
        results: list[answers.Shown] = [
            answers.refused_result(outcome) if isinstance(outcome, REFUSED) else {}
            for outcome in judged
        ]

        waiting = len(accepted)
        replayed: list[int] = []

        def finish() -> None:
            self._count(results)
            fields = answers.replays(sorted(replayed), len(results))
            exchange.answer(200, encode({"results": results}), fields=fields)

        def done(part: Sequence[tuple[int, ops.Operation]], given: Sequence[Answer]) -> None:
            nonlocal waiting
            learned = self._learned(caller, given, dry=dry)
            for (index, _), answer in zip(part, learned, strict=True):
                results[index] = answers.result(caller, answer)
                if answer.replayed:
                    replayed.append(index)
            waiting -= len(part)
            if not waiting:
                finish()

        if not accepted:
            finish()
            return
        # As jobs of a size that lets one be decided while the one before it is being stored. What
        # is rehearsed sees only what is durable and its own job, so that stays one.
        size = len(accepted) if dry else JOB_OPERATIONS
        for part in batched(accepted, size):
            operations = [operation for _, operation in part]
            own_keys = [keys[index] for index, _ in part]
            self._submit(
                Job(
                    caller.identity,
                    operations,
                    own_keys,
                    atomic=False,
                    done=partial(done, part),
                    dry=dry,
                )
            )

    def _together(
        self, exchange: Exchange, caller: Caller, key: str, judged: list[Outcome], *, dry: bool
    ) -> None:
        """Give the ledger all or nothing."""

        def finish(results: list[answers.Shown], *, replayed: bool) -> None:
            fields = answers.REPLAYED if replayed else b""
            refused = (one for one in results if isinstance(one, dict))
            culprit = next((one for one in refused if one["code"] not in _INNOCENT), None)
            if culprit is None:
                exchange.answer(201, encode({"results": results}), fields=fields)
                return
            message = f"Nothing was done: {culprit['message']}"
            exchange.refuse(culprit["code"], message, {"results": results}, fields=fields)

        def done(given: Sequence[Answer]) -> None:
            learned = self._learned(caller, given, dry=dry)
            finish(
                [answers.result(caller, answer) for answer in learned],
                replayed=any(answer.replayed for answer in given),
            )

        operations = [outcome for outcome in judged if not isinstance(outcome, REFUSED)]
        if len(operations) == len(judged):
            self._submit(Job(caller.identity, operations, (key,), atomic=True, done=done, dry=dry))
            return
        first = next(index for index, outcome in enumerate(judged) if isinstance(outcome, REFUSED))
        finish(
            [_beside(outcome, index, first) for index, outcome in enumerate(judged)], replayed=False
        )

    def _learned(self, caller: Caller, given: Sequence[Answer], *, dry: bool) -> Sequence[Answer]:
        """Say what was heard and done, and remember new holds' accounts for this caller's rights.

        What a dry run would have made is not remembered: another will get its id.
        """
        self._heard(given)
        if dry:
            return [answers.rehearsed(answer) for answer in given]
        self._acknowledged(given)
        if caller.prefixes is not None:
            for answer in given:
                said = answer.said
                if isinstance(said, dict) and "committed_amount" in said:
                    self._parties.remember(said["id"], (said["account"], said["to"]))
        return given

    def _count(self, results: Sequence[answers.Shown]) -> None:
        for one in results:
            if (code := answers.code_of(one)) != Code.CREATED:
                self._refused(code)


_INNOCENT: Final = frozenset({Code.CREATED.value, Code.BATCH_ABORTED.value})


def idempotency_key(given: bytes | None) -> str:
    """Return the request's key, or refuse: every write needs one."""
    if given is not None and given.isascii() and 0 < len(given) <= LONGEST_KEY:
        key = given.decode("ascii")
        if key.isprintable():
            return key
    raise ShapeError(
        "idempotency_key",
        "send one Idempotency-Key header of 1 to 255 printable ASCII characters",
    )


def dry_run(query: bytes) -> bool:
    """Return whether the request is only to be rehearsed."""
    if not query:
        return False
    given = parse_query(query, ("dry_run",)).get("dry_run", "false")
    if given not in {"true", "false"}:
        raise ShapeError("dry_run", "is not true or false")
    return given == "true"


def _judged(caller: Caller, outcome: Outcome, known: Known, *, missing: bool) -> Outcome:
    """Judge one operation; what is `missing` of the parties could not be looked up."""
    if isinstance(outcome, REFUSED):
        return outcome
    wanted = parties_wanted(caller, outcome) if known or missing else None
    if missing and wanted is not None and wanted not in known:
        return Refusal("shard_unavailable", UNAVAILABLE)
    parties = () if wanted is None else known.get(wanted, ())
    return judge(caller, outcome, parties) or outcome


def _within(refused: Refused, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Put the refusals of the limits in the places of the operations that they are about."""
    asked = [place for place, one in enumerate(outcomes) if not isinstance(one, REFUSED)]
    within = list(outcomes)
    for number, refusal in refused.items():
        within[asked[number]] = refusal
    return within


def _beside(outcome: Outcome, index: int, culprit: int) -> dict[str, Any]:
    if index == culprit and isinstance(outcome, REFUSED):
        return answers.refused_result(outcome)
    message = f"Nothing was done: operation {culprit} was refused."
    return answers.refused_result(Refusal(Code.BATCH_ABORTED.value, message))


def _unavailable(exchange: Exchange) -> None:
    exchange.refuse("shard_unavailable", UNAVAILABLE)
