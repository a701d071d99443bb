"""Every call of the API as a value: what routes are made from, and the OpenAPI document too."""

from dataclasses import dataclass
from typing import Any, Final

from shieldx.sidecar import wire, wire_answers
from shieldx.sidecar.scopes import Scope

ACCOUNT_CODES: Final = ("account_not_found", "account_frozen", "account_closed")
GRANT_CODES: Final = (
    "grant_not_found",
    "grant_already_voided",
    "grant_expired",
    "grant_exhausted",
)
HOLD_CODES: Final = (
    "hold_not_found",
    "hold_already_committed",
    "hold_already_voided",
    "hold_expired",
)


@dataclass(frozen=True, slots=True)
class Call:
    """One method of one path. `{id}` stands for one percent-encoded segment."""

    method: str
    path: str
    name: str
    summary: str
    answer: Any
    scope: Scope | None = None
    body: Any = None
    status: int = 200
    codes: tuple[str, ...] = ()
    query: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """A write needs an `Idempotency-Key`."""
        return self.method != "GET"


CALLS: Final = (
    Call(
        "POST",
        "/v1/accounts",
        "open_account",
        "Open an account",
        wire_answers.AccountAnswer,
        scope=Scope.WRITE,
        body=wire.OpenAccount,
        status=201,
        codes=("account_exists",),
    ),
    Call(
        "GET",
        "/v1/accounts",
        "list_accounts",
        "List accounts by the beginning of their ids",
        wire_answers.AccountPage,
        scope=Scope.READ,
        query=("prefix", "state", "cursor", "limit"),
    ),
    Call(
        "GET",
        "/v1/accounts/{id}",
        "get_account",
        "Read an account",
        wire_answers.AccountAnswer,
        scope=Scope.READ,
        codes=("account_not_found",),
    ),
    Call(
        "PATCH",
        "/v1/accounts/{id}",
        "change_account",
        "Freeze, reopen or close an account (scope admin), or set its metadata",
        wire_answers.AccountAnswer,
        scope=Scope.WRITE,
        body=wire.ChangeAccount,
        codes=("account_not_found", "account_closed", "account_not_empty"),
    ),
    Call(
        "GET",
        "/v1/accounts/{id}/balance",
        "get_balance",
        "Read a balance, now or at a past moment; never used to authorise a debit",
        wire_answers.BalanceAnswer,
        scope=Scope.READ,
        codes=("account_not_found",),
        query=("at",),
    ),
    Call(
        "GET",
        "/v1/accounts/{id}/entries",
        "list_entries",
        "Read an account's history",
        wire_answers.EntryPage,
        scope=Scope.READ,
        codes=("account_not_found",),
        query=("cursor", "limit", "from", "to"),
    ),
    Call(
        "POST",
        "/v1/accounts/{id}/consume",
        "consume",
        "Pay system/revenue, or another account",
        wire_answers.TransferAnswer,
        scope=Scope.WRITE,
        body=wire.Consume,
        status=201,
        codes=("insufficient_credits", *ACCOUNT_CODES),
    ),
    Call(
        "POST",
        "/v1/accounts/{id}/refill",
        "refill",
        "Make credits: draw on system/issuance",
        wire_answers.TransferAnswer,
        scope=Scope.ISSUE,
        body=wire.Refill,
        status=201,
        codes=ACCOUNT_CODES,
    ),
    Call(
        "POST",
        "/v1/accounts/{id}/grants",
        "grant",
        "Grant credits that are burnt in their order and may expire",
        wire_answers.GrantAnswer,
        scope=Scope.ISSUE,
        body=wire.Grant,
        status=201,
        codes=("account_not_found", "account_closed", "grant_expired"),
    ),
    Call(
        "GET",
        "/v1/accounts/{id}/grants",
        "list_grants",
        "List an account's grants and what is left of them, newest first",
        wire_answers.GrantPage,
        scope=Scope.READ,
        codes=("account_not_found",),
        query=("state", "cursor", "limit"),
    ),
    Call(
        "DELETE",
        "/v1/accounts/{id}/grants/{grant}",
        "void_grant",
        "Take back what is left of a grant and not held",
        wire_answers.GrantAnswer,
        scope=Scope.ISSUE,
        codes=("account_not_found", *GRANT_CODES),
    ),
    Call(
        "PUT",
        "/v1/accounts/{id}/alerts",
        "set_alert",
        "Raise an event once whenever less than this is available",
        wire_answers.AlertAnswer,
        scope=Scope.WRITE,
        body=wire.SetAlert,
        codes=("account_not_found",),
    ),
    Call(
        "POST",
        "/v1/notes",
        "note",
        "Write a digest into the chain, which proves that it existed by then",
        wire_answers.NoteAnswer,
        scope=Scope.WRITE,
        body=wire.Note,
        status=201,
    ),
    Call(
        "POST",
        "/v1/transfers",
        "transfer",
        "Move credits from one account to another",
        wire_answers.TransferAnswer,
        scope=Scope.WRITE,
        body=wire.Transfer,
        status=201,
        codes=("insufficient_credits", *ACCOUNT_CODES, "reference_already_used"),
    ),
    Call(
        "GET",
        "/v1/transfers",
        "find_transfer",
        "Find the transfer that carries a reference",
        wire_answers.TransferPage,
        scope=Scope.READ,
        query=("reference",),
    ),
    Call(
        "GET",
        "/v1/transfers/{id}",
        "get_transfer",
        "Read a transfer",
        wire_answers.TransferAnswer,
        scope=Scope.READ,
        codes=("transfer_not_found",),
    ),
    Call(
        "POST",
        "/v1/transfers/{id}/reverse",
        "reverse",
        "Give back what a transfer moved, or a part of it",
        wire_answers.TransferAnswer,
        scope=Scope.WRITE,
        body=wire.Reverse,
        status=201,
        codes=(
            "transfer_not_found",
            "transfer_already_reversed",
            "exceeds_reversible_amount",
            "insufficient_credits",
            *ACCOUNT_CODES,
        ),
    ),
    Call(
        "POST",
        "/v1/holds",
        "reserve",
        "Reserve credits",
        wire_answers.HoldAnswer,
        scope=Scope.WRITE,
        body=wire.Reserve,
        status=201,
        codes=("insufficient_credits", *ACCOUNT_CODES),
    ),
    Call(
        "GET",
        "/v1/holds",
        "list_holds",
        "List the holds of an account",
        wire_answers.HoldPage,
        scope=Scope.READ,
        codes=("account_not_found",),
        query=("account", "state", "cursor", "limit"),
    ),
    Call(
        "GET",
        "/v1/holds/{id}",
        "get_hold",
        "Read a hold",
        wire_answers.HoldAnswer,
        scope=Scope.READ,
        codes=("hold_not_found",),
    ),
    Call(
        "POST",
        "/v1/holds/{id}/commit",
        "commit",
        "Pay what was reserved, or a part of it; the rest is released",
        wire_answers.HoldAnswer,
        scope=Scope.WRITE,
        body=wire.Commit,
        status=201,
        codes=(*HOLD_CODES, "exceeds_hold_amount", "account_frozen", "account_closed"),
    ),
    Call(
        "POST",
        "/v1/holds/{id}/void",
        "void",
        "Release what was reserved",
        wire_answers.HoldAnswer,
        scope=Scope.WRITE,
        body=wire.Void,
        status=201,
        codes=HOLD_CODES,
    ),
    Call(
        "GET",
        "/v1/events",
        "list_events",
        "Read what happened, in order, and wait for what comes next",
        wire_answers.EventPage,
        scope=Scope.READ,
        query=("cursor", "limit", "wait", "include"),
    ),
    Call(
        "POST",
        "/v1/batch",
        "batch",
        "Up to 1,000 operations, singly or all or nothing",
        wire_answers.BatchAnswer,
        scope=Scope.WRITE,
        body=wire.Batch,
        codes=("batch_aborted", "too_many_operations"),
    ),
)
