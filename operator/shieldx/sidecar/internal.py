"""The internal port: where the other processes of this ledger hand their writes to its writer.

POST /internal/jobs      jobs in, their answers out, MessagePack; refused unless this is the writer
GET  /internal/writer    whether it is, and has heard of the database just now

Here, and nowhere else, a caller is believed who is only named: the request came in at a process of
this same ledger, which has judged its rights. So only the service accounts of those processes are
let in, by tokens for an audience of its own, and a NetworkPolicy lets nobody else near.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shieldx.kube.signed_tokens import SignedTokens
from shieldx.kube.signing_keys import SigningKeys
from shieldx.kube.tokens import TokenCache, TokenReviewer
from shieldx.ledger.forward import AUDIENCE, JOBS_PATH, WRITER_PATH
from shieldx.ledger.jobs import Job, MangledError, SentJob, decode_jobs, encode_answers
from shieldx.ledger.leadership import Leadership
from shieldx.ledger.records import Answer
from shieldx.sidecar.auth import Authenticator, Caller, Policy, ServiceAccounts
from shieldx.sidecar.exchange import Exchange
from shieldx.sidecar.limits import Limits
from shieldx.sidecar.probes import refuse_method, refuse_path

MSGPACK: Final = b"application/msgpack"
LIMITS: Final = Limits(large_targets=frozenset({JOBS_PATH.encode()}))


@dataclass(frozen=True, slots=True)
class InternalOptions:
    """The internal port, the address at which the others reach it, who they are, who we are."""

    port: int
    address: str
    peers: tuple[tuple[str, str], ...]
    token_file: Path


def internal_options(
    port: int | None, address: str | None, peers: Sequence[str], token_file: Path | None
) -> InternalOptions | None:
    """Put the command line's parts together; ValueError says what is missing."""
    if port is None:
        if peers or token_file is not None:
            raise ValueError("--peer and --token-file go with --internal-port")
        return None
    if not address or not peers or token_file is None:
        raise ValueError("--internal-port needs --address (or POD_IP), --peer and --token-file")
    named = []
    for peer in peers:
        namespace, _, name = peer.partition(":")
        if not namespace or not name:
            raise ValueError(f"--peer is NAMESPACE:NAME of a service account, not {peer!r}")
        named.append((namespace, name))
    host = f"[{address}]" if ":" in address else address
    return InternalOptions(port, f"{host}:{port}", tuple(named), token_file)


def admission(
    reviewer: TokenReviewer, peers: Iterable[tuple[str, str]], keys: SigningKeys | None = None
) -> Authenticator:
    """Return what lets in the service accounts (namespace, name) of this ledger's processes.

    With the cluster's keys none of them waits for the cluster, or is shut out while it is away.
    """
    policy: Policy = {
        (namespace, name): Caller(f"system:serviceaccount:{namespace}:{name}", frozenset())
        for namespace, name in peers
    }
    reviews = TokenCache(reviewer, audience=AUDIENCE)
    tokens = reviews if keys is None else SignedTokens(reviews, keys, audience=AUDIENCE)
    return ServiceAccounts(tokens, policy)


class Internal:
    """Serves the internal port: gives the jobs of others to this process's batcher."""

    def __init__(
        self,
        submit: Callable[[Job], None],
        leadership: Leadership,
        authenticator: Authenticator,
    ) -> None:
        self.forwarded = 0
        self._submit = submit
        self._leadership = leadership
        self._authenticator = authenticator

    def handle(self, exchange: Exchange) -> None:
        """Serve one request; the answer may come later."""
        target = exchange.target.decode("latin-1")
        method = {JOBS_PATH: b"POST", WRITER_PATH: b"GET"}.get(target)
        if method is None:
            refuse_path(exchange)
        elif exchange.method != method:
            refuse_method(exchange, (method.decode(),))
        else:
            self._authenticator.identify(exchange, self._admitted)

    def _admitted(self, exchange: Exchange, _: Caller) -> None:
        hands_over = exchange.method == b"POST"
        if not (self._leadership.mine if hands_over else self._leadership.sure):
            exchange.refuse("not_ready", "This process is not the shard's writer.")
        elif not hands_over:
            exchange.answer(200, b"{}")
        else:
            self._jobs(exchange)

    def _jobs(self, exchange: Exchange) -> None:
        try:
            jobs = decode_jobs(exchange.body)
        except MangledError as error:
            exchange.refuse("invalid_request", f"These are no jobs: {error}")
            return
        answers: list[Sequence[Answer]] = [()] * len(jobs)
        waiting = len(jobs)

        def settle(index: int, given: Sequence[Answer]) -> None:
            nonlocal waiting
            answers[index] = given
            waiting -= 1
            if waiting == 0:
                exchange.answer(200, encode_answers(answers), content_type=MSGPACK)

        for index, job in enumerate(jobs):
            self.forwarded += len(job.operations)
            self._submit(_job(job, index, settle))
        if not jobs:
            exchange.answer(200, encode_answers(()), content_type=MSGPACK)


def _job(sent: SentJob, index: int, settle: Callable[[int, Sequence[Answer]], None]) -> Job:
    return Job(
        sent.caller,
        sent.operations,
        sent.keys,
        atomic=sent.atomic,
        dry=sent.dry,
        done=lambda answers: settle(index, answers),
    )
