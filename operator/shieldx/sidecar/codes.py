"""Every code that the API answers with, its HTTP status, and whether it burns the key.

The one map: single calls, batches, the OpenAPI document and `docs/api.md` all read it.
`python -m shieldx.sidecar.codes > docs/api-codes.md` makes the page of the documentation.
"""

import sys
from dataclasses import dataclass
from typing import Final

INTRODUCTION: Final = """# Codes of the ledger API

Made by `python -m shieldx.sidecar.codes > docs/api-codes.md` from the map that the API answers by.
A code that *burns the key* stays the answer of its `Idempotency-Key` for ever; after any other the
same key may be used again. A batch gives each operation the code of its single call.

"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a code means: its status, whether it stays the answer of its key, and why it comes."""

    status: int
    meaning: str
    burns: bool = False
    retry: bool = False


def _stays(status: int, meaning: str) -> Outcome:
    """Say a code that stays the answer of its key."""
    return Outcome(status, meaning, burns=True)


def _passes(status: int, meaning: str) -> Outcome:
    """Say a code after which the key is as good as new."""
    return Outcome(status, meaning)


def _again(status: int, meaning: str) -> Outcome:
    """Say a code that asks to try again soon, with the same key."""
    return Outcome(status, meaning, retry=True)


CODES: Final[dict[str, Outcome]] = {
    "created": _stays(201, "Done, and stored as the answer of its key."),
    "insufficient_credits": _stays(402, "More than `available`; facts: available, required."),
    "account_not_found": _stays(404, "There is no such account for this caller."),
    "hold_not_found": _stays(404, "There is no such hold for this caller."),
    "transfer_not_found": _stays(404, "There is no such transfer for this caller."),
    "grant_not_found": _stays(404, "The account has no such grant."),
    "account_exists": _stays(409, "An account of that id was opened before."),
    "account_frozen": _stays(409, "A frozen account refuses debits, holds and commits."),
    "account_closed": _stays(409, "A closed account takes part in nothing."),
    "account_not_empty": _stays(409, "Closing needs balance 0, no open holds and no grants."),
    "hold_already_committed": _stays(409, "The hold was committed before."),
    "hold_already_voided": _stays(409, "The hold was voided before."),
    "hold_expired": _stays(409, "The hold's time was up."),
    "transfer_already_reversed": _stays(409, "Nothing of the transfer is left to reverse."),
    "grant_already_voided": _stays(409, "The grant was voided before."),
    "grant_expired": _stays(409, "The grant's time is over, or would be from the start."),
    "grant_exhausted": _stays(409, "Nothing is left of the grant."),
    "reference_already_used": _stays(409, "Another transfer carries that reference."),
    "exceeds_hold_amount": _stays(422, "More than is left of the hold."),
    "exceeds_reversible_amount": _stays(422, "More than is left to reverse."),
    "balance_overflow": _stays(422, "The balance would not fit 64 bits."),
    "batch_aborted": _stays(409, "Another operation of the atomic batch was refused."),
    "idempotency_key_reused": _passes(422, "The key belongs to another operation."),
    "invalid_…": _passes(400, "The field named by the code is missing or malformed."),
    "unauthenticated": _passes(401, "No valid service-account token or API key."),
    "unknown_caller": _passes(403, "The service account is not configured for the ledger."),
    "missing_scope": _passes(403, "The caller lacks the scope in fact `scope`."),
    "not_found": _passes(404, "There is no such path."),
    "method_not_allowed": _passes(405, "The path does not take that method; see Allow."),
    "request_timeout": _passes(408, "The request took too long to arrive."),
    "body_too_large": _passes(413, "Body above 1 MiB (a batch: 8 MiB)."),
    "too_many_operations": _passes(413, "A batch of more than 1,000 operations."),
    "rate_limited": _again(429, "Too often; facts: limit, requests_per_second, burst."),
    "header_too_large": _passes(431, "Header above 16 KiB."),
    "internal_error": _passes(500, "Our fault; the log says more."),
    "overloaded": _again(503, "Shed before any work."),
    "shard_unavailable": _again(503, "The shard's database is away."),
    "authentication_unavailable": _again(503, "Tokens cannot be reviewed."),
    "not_ready": _again(503, "The process starts, drains, or misses its database."),
    "outcome_unknown": _again(503, "Retry with the same key to settle it."),
    "http_version_not_supported": _passes(505, "Only HTTP/1.1 is spoken."),
}


def status_of(code: str) -> int:
    """Return the HTTP status of a code."""
    if code.startswith("invalid_"):
        return CODES["invalid_…"].status
    return CODES[code].status


def may_retry(code: str) -> bool:
    """Whether the answer says to try again soon."""
    outcome = CODES.get(code)
    return outcome is not None and outcome.retry


def page() -> str:
    """Render the map as a page of the documentation."""
    return INTRODUCTION + table()


def table() -> str:
    """Render the map as a Markdown table."""
    lines = ["| HTTP | code | burns the key | meaning |", "|---|---|---|---|"]
    lines += [
        f"| {outcome.status} | `{code}` | {'yes' if outcome.burns else 'no'} "
        f"| {outcome.meaning}{' Carries `Retry-After`.' if outcome.retry else ''} |"
        for code, outcome in CODES.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
