"""What entries say was asked for and answered, as `verify` reads them.

A reading of its own, sharing nothing with `operations`: whoever judges the engine does not ask it
what its words mean. Only what the books follow from is read.
"""

from typing import Final

import msgspec

REVENUE: Final = "system/revenue"
NOTHING: Final = msgspec.Raw(b"{}")
UNCHANGED: Final = msgspec.Raw(b"null")


class Statement(msgspec.Struct, tag_field="type", gc=False):
    """Something that was asked for; metadata stay the JSON that they are."""


class Open(Statement, tag="open", gc=False):
    id: str
    floor: int | None = 0
    metadata: msgspec.Raw = NOTHING


class Change(Statement, tag="change", gc=False):
    id: str
    state: str | None = None
    metadata: msgspec.Raw = UNCHANGED


class SetAlert(Statement, tag="set_alert", gc=False):
    account: str
    available_below: int | None = None


class Transfer(Statement, tag="transfer", gc=False):
    debit: str
    credit: str
    amount: int
    kind: str = "transfer"
    metadata: msgspec.Raw = NOTHING
    reference: str | None = None


class Reverse(Statement, tag="reverse", gc=False):
    transfer: str
    amount: int | None = None


class Hold(Statement, tag="hold", gc=False):
    account: str
    amount: int
    timeout_seconds: int
    to: str = REVENUE
    metadata: msgspec.Raw = NOTHING


class Commit(Statement, tag="commit", gc=False):
    hold: str
    amount: int | None = None
    final: bool = True


class Void(Statement, tag="void", gc=False):
    hold: str


class Expire(Statement, tag="expire", gc=False):
    hold: str


class Grant(Statement, tag="grant", gc=False):
    account: str
    amount: int
    priority: int = 0
    effective_at: int | None = None
    expires_at: int | None = None
    metadata: msgspec.Raw = NOTHING


class Activate(Statement, tag="activate", gc=False):
    grant: str


class ExpireGrant(Statement, tag="expire_grant", gc=False):
    grant: str


class VoidGrant(Statement, tag="void_grant", gc=False):
    grant: str


class Note(Statement, tag="note", gc=False):
    """Changes nothing; nor do the next two."""


class Alert(Statement, tag="alert", gc=False):
    pass


class Batch(Statement, tag="batch", gc=False):
    """Its operations have entries of their own before it."""


type Said = (
    Open
    | Change
    | SetAlert
    | Transfer
    | Reverse
    | Hold
    | Commit
    | Void
    | Expire
    | Grant
    | Activate
    | ExpireGrant
    | VoidGrant
    | Note
    | Alert
    | Batch
)


class Figures(msgspec.Struct, gc=False):
    """What an answer says an account had after it."""

    balance: int
    held: int
    available: int
    version: int


class Answer(msgspec.Struct, gc=False):
    """What an answer says of what was done."""

    balances: dict[str, Figures] = {}
    seq: int | None = None


read_statement: Final = msgspec.json.Decoder(Said.__value__).decode
read_answer: Final = msgspec.json.Decoder(Answer).decode
