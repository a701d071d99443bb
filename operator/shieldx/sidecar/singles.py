"""The calls that are one operation: which body each takes, and which operation it becomes."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from shieldx.ledger import operations as ops
from shieldx.sidecar import normalise, wire
from shieldx.sidecar.config import Holds
from shieldx.sidecar.decoding import decode
from shieldx.sidecar.router import Match

OPEN_ACCOUNT: Final = msgspec.json.Decoder(wire.OpenAccount)
CHANGE_ACCOUNT: Final = msgspec.json.Decoder(wire.ChangeAccount)
TRANSFER: Final = msgspec.json.Decoder(wire.Transfer)
CONSUME: Final = msgspec.json.Decoder(wire.Consume)
REFILL: Final = msgspec.json.Decoder(wire.Refill)
REVERSE: Final = msgspec.json.Decoder(wire.Reverse)
RESERVE: Final = msgspec.json.Decoder(wire.Reserve)
COMMIT: Final = msgspec.json.Decoder(wire.Commit)
VOID: Final = msgspec.json.Decoder(wire.Void)
GRANT: Final = msgspec.json.Decoder(wire.Grant)
VOID_GRANT: Final = msgspec.json.Decoder(wire.VoidGrant)
SET_ALERT: Final = msgspec.json.Decoder(wire.SetAlert)
NOTE: Final = msgspec.json.Decoder(wire.Note)

type Reader = Callable[[Match, bytes, Holds], ops.Operation]


def _void(match: Match, body: bytes, _: Holds) -> ops.Operation:
    decode(body, VOID)
    return ops.Void(hold=match.id)


def _void_grant(match: Match, body: bytes, _: Holds) -> ops.Operation:
    decode(body, VOID_GRANT)
    return ops.VoidGrant(account=match.id, grant=match.grant)


def _set_alert(match: Match, body: bytes, _: Holds) -> ops.Operation:
    return ops.SetAlert(account=match.id, available_below=decode(body, SET_ALERT).available_below)


def _note(_: Match, body: bytes, __: Holds) -> ops.Operation:
    note = decode(body, NOTE)
    return ops.Note(kind=note.kind, digest=note.digest)


# By the name of the call; each raises ShapeError.
READERS: Final[Mapping[str, Reader]] = {
    "open_account": lambda _, body, __: normalise.open_account(decode(body, OPEN_ACCOUNT)),
    "change_account": lambda match, body, _: normalise.change_account(
        match.id, decode(body, CHANGE_ACCOUNT)
    ),
    "transfer": lambda _, body, __: normalise.transfer(decode(body, TRANSFER)),
    "consume": lambda match, body, _: normalise.consume(match.id, decode(body, CONSUME)),
    "refill": lambda match, body, _: normalise.refill(match.id, decode(body, REFILL)),
    "reverse": lambda match, body, _: normalise.reverse(match.id, decode(body, REVERSE)),
    "reserve": lambda _, body, holds: normalise.reserve(decode(body, RESERVE), holds),
    "commit": lambda match, body, _: normalise.commit(match.id, decode(body, COMMIT)),
    "void": _void,
    "grant": lambda match, body, _: normalise.grant(match.id, decode(body, GRANT)),
    "void_grant": _void_grant,
    "set_alert": _set_alert,
    "note": _note,
}
