"""The chain told to others: every entry is an event, its position is its place in the order.

There is no second outbox to keep in step: what was decided and what is told is one row. Events are
CloudEvents 1.0; `id` is `<shard>-<position>`, so whoever gets one twice can tell.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

import msgspec

from shieldx.ledger.operations import SYSTEM_PREFIX
from shieldx.ledger.times import rfc3339, timed

SPEC_VERSION: Final = "1.0"
SOURCE_PREFIX: Final = "urn:shieldx:ledger:"
TYPE_PREFIX: Final = "io.shieldx.ledger"
CREATED: Final = "created"
# Which fields of an operation or of its answer are accounts, who pays first.
ACCOUNTS: Final = ("debit", "account", "credit", "to")

_decode = msgspec.json.decode


class Event(NamedTuple):
    """One entry of the chain, as far as it is told."""

    shard: str
    position: int
    at: int
    operation: Mapping[str, Any]
    code: str
    answer: Mapping[str, Any]

    @classmethod
    def of(cls, shard: str, row: Mapping[str, Any]) -> Self:
        """Read a row of `entries`."""
        return cls(
            shard,
            row["position"],
            row["at"],
            _decode(row["operation"]),
            row["code"],
            _decode(row["answer"]),
        )

    @property
    def happened(self) -> bool:
        """Whether it changed something: no refusal, nor the frame of an atomic batch.

        The operations of such a batch are entries of their own before it.
        """
        return self.code == CREATED and self.operation["type"] != "batch"

    @property
    def refused(self) -> bool:
        return self.code != CREATED

    def accounts(self) -> tuple[str, ...]:
        """Return the accounts that it is about, who pays first; none if it is about no account."""
        kind = self.operation["type"]
        if kind in {"open", "change"}:
            return (self.operation["id"],)
        told = {**self.operation, **self.answer}
        return tuple(told[name] for name in ACCOUNTS if isinstance(told.get(name), str))

    def cloud_event(self, source: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return it as a CloudEvent, with as much of its answer as the reader may see."""
        event = {
            "specversion": SPEC_VERSION,
            "id": f"{self.shard}-{self.position}",
            "source": source,
            "type": f"{TYPE_PREFIX}.{self.operation['type']}.{self.code}",
            "time": rfc3339(self.at),
            "datacontenttype": "application/json",
            "data": {"operation": timed(self.operation), "answer": timed(answer)},
        }
        accounts = self.accounts()
        if accounts:
            # The customer's side: the other one is one of the ledger's own accounts, if either is.
            own = (one for one in accounts if not one.startswith(SYSTEM_PREFIX))
            event["subject"] = next(own, accounts[0])
        return event
