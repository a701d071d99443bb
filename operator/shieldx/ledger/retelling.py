"""What must be, retold from the chain alone by a plain interpreter.

It shares no code with `model`: the engine is not its own judge. It trusts that what an entry says
was done was allowed, does it again, and so knows every account, hold, lot and transfer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shieldx.ledger.cells import text
from shieldx.ledger.purses import Purses
from shieldx.ledger.statements import (
    NOTHING,
    REVENUE,
    UNCHANGED,
    Activate,
    Alert,
    Answer,
    Batch,
    Change,
    Commit,
    Expire,
    ExpireGrant,
    Figures,
    Grant,
    Note,
    Open,
    Reverse,
    Said,
    SetAlert,
    Transfer,
    Void,
    VoidGrant,
)
from shieldx.ledger.statements import Hold as Reserve
from shieldx.ledger.told import (
    Account,
    Hold,
    Lot,
    Original,
    Told,
    plain,
    posted,
    rest_of,
    untold,
)

ISSUANCE: Final = "system/issuance"
BREAKAGE: Final = "system/breakage"
MICROSECONDS: Final = 1_000_000


@dataclass(slots=True)
class Books:
    """Everything as it must be, by id.

    Rows of transfers are handed out in `made`, and in `left` what accounts had after an entry
    that changed them last otherwise than by a transfer: id, version, balance, held.
    """

    shard: str
    accounts: Told[Account] = field(default_factory=lambda: Told("account"))
    holds: Told[Hold] = field(default_factory=lambda: Told("hold"))
    reversed: dict[int, int] = field(default_factory=dict)
    transfers: int = 0
    made: list[bytes] = field(default_factory=list)
    left: list[tuple[str, int, int, int]] = field(default_factory=list)
    _purses: Purses = field(default_factory=Purses)
    _touched: list[Account] = field(default_factory=list)
    _position: int = 0
    _at: int = 0

    def __post_init__(self) -> None:
        for name in (ISSUANCE, REVENUE, BREAKAGE):
            self._open(Open(name, None))
        self._leave()

    def retell(self, position: int, at: int, said: Said, originals: Mapping[str, Original]) -> None:
        """Do again what an entry did; `originals` are transfers by id, told before."""
        self._position, self._at = position, at
        if type(said) is Transfer:
            paid, amount = self.accounts[said.debit], said.amount
            burnt = self._purses.burn(paid, amount) if paid.lots else ()
            if burnt or said.reference is not None or len(said.metadata) > len(NOTHING):
                metadata = bytes(said.metadata)
                rest = rest_of(said.kind, metadata, reference=said.reference, burnt=burnt)
            else:
                rest = plain(said.kind)
            self._move(paid, self.accounts[said.credit], amount, rest)
        else:
            self._do(said, originals)
        if self._touched:
            self._leave()

    def give_up(self, position: int, at: int, said: Activate) -> None:
        """Void a grant whose credits the account could not take when its time came."""
        self._position, self._at = position, at
        self._close_lot(self.lots[said.grant], "voided")
        self._leave()

    def contradiction(self, answer: Answer, transfers: int) -> str | None:
        """Say in what an answer is not what was done, after `transfers` had been made before."""
        for name, said in answer.balances.items():
            account = self.accounts[name]
            balance, held = account.balance, account.held
            if (
                said.balance != balance
                or said.held != held
                or said.available != balance - held
                or said.version != account.version
            ):
                must = Figures(balance, held, balance - held, account.version)
                return f"balances of {name} is {said}, must be {must}"
        if answer.seq not in {None, transfers + 1} and self.transfers > transfers:
            return f"seq is {answer.seq}, must be {transfers + 1}"
        return None

    @property
    def lots(self) -> Told[Lot]:
        return self._purses.lots

    def _do(self, said: Said, originals: Mapping[str, Original]) -> None:  # noqa: C901, PLR0912 - one case a kind.
        match said:
            case Commit():
                self._commit(said)
            case Reserve():
                self._reserve(said)
            case Void():
                self._finish(self.holds[said.hold], "voided")
            case Expire():
                self._finish(self.holds[said.hold], "expired")
            case Reverse():
                self._reverse(said, originals.get(said.transfer))
            case Open():
                self._open(said)
            case Change():
                account = self._touch(self.accounts[said.id])
                account.state = said.state or account.state
                if said.metadata != UNCHANGED:
                    account.metadata = bytes(said.metadata)
            case SetAlert():
                self._touch(self.accounts[said.account]).alert = said.available_below
            case Grant():
                self._grant(said)
            case Activate():
                lot = self.lots[said.grant]
                self._purses.change(lot, state="active")
                self._pay_out(lot)
            case ExpireGrant():
                self._close_lot(self.lots[said.grant], "expired")
            case VoidGrant():
                self._close_lot(self.lots[said.grant], "voided")
            case Transfer() | Note() | Alert() | Batch():
                pass  # Told already, or nothing to tell.

    def _open(self, said: Open) -> None:
        account = Account(said.id, text(said.id), said.floor, bytes(said.metadata))
        self.accounts[said.id] = account
        self._touched.append(account)

    def _touch(self, account: Account) -> Account:
        account.version += 1
        self._touched.append(account)
        return account

    def _leave(self) -> None:
        for account in self._touched:
            if account.moved != account.version:
                self.left.append((account.id, account.version, account.balance, account.held))
        self._touched.clear()

    def _move(self, paid: Account, got: Account, amount: int, rest: bytes) -> None:
        paid.balance -= amount
        got.balance += amount
        paid.version = paid.moved = paid.version + 1
        got.version = got.moved = got.version + 1
        self.transfers += 1
        self.made.append(posted(self.transfers, self._position, self._at, amount, paid, got, rest))

    def _reverse(self, said: Reverse, original: Original | None) -> None:
        if original is None or original.seq > self.transfers:
            raise untold("transfer", said.transfer)
        seq = original.seq
        already = self.reversed.get(seq, 0)
        amount = original.amount - already if said.amount is None else said.amount
        self.reversed[seq] = already + amount
        payer, payee = self.accounts[original.credit], self.accounts[original.debit]
        burnt = self._purses.burn(payer, amount)
        restored, lapsed = self._purses.restore(original, already, amount, self._at)
        rest = rest_of("reversal", b"{}", reverses=seq, burnt=burnt, restored=restored)
        self._move(payer, payee, amount, rest)
        self._sweep(payee, lapsed)

    def _reserve(self, said: Reserve) -> None:
        account, amount = self._touch(self.accounts[said.account]), said.amount
        account.held += amount
        claims = self._purses.take(account, amount) if account.lots else []
        for lot, taken in claims:
            self._purses.change(lot, held=taken)
        to = self.accounts.get(said.to)
        name = f"hold_{self.shard}_{self._position}"
        self.holds[name] = Hold(
            name,
            self._position,
            account,
            said.to if to is None else to.id,  # One text for all holds, not one each.
            amount,
            amount,
            self._at + said.timeout_seconds * MICROSECONDS,
            bytes(said.metadata),
            tuple(claims),
        )

    def _commit(self, said: Commit) -> None:
        hold = self.holds[said.hold]
        account = hold.account
        amount = hold.remaining if said.amount is None else said.amount
        left = 0 if said.final else hold.remaining - amount
        burnt: list[tuple[Lot, int]] = []
        claims: list[tuple[Lot, int]] = []
        due = amount
        for lot, claimed in hold.claims:
            taken = min(claimed, due)
            due -= taken
            if taken:
                burnt.append((lot, taken))
                self._purses.change(lot, remaining=-taken, held=-taken)
            if claimed > taken:
                claims.append((lot, claimed - taken))
        lapsed = {} if left else self._purses.release(claims)
        account.held -= hold.remaining - left
        rest = (
            rest_of("commit", hold.metadata, burnt=burnt)
            if burnt or len(hold.metadata) > len(NOTHING)
            else plain("commit")
        )
        self._move(account, self.accounts[hold.to], amount, rest)
        hold.remaining = left
        hold.committed += amount
        hold.state = "held" if left else "committed"
        hold.claims = tuple(claims) if left else ()
        hold.version += 1
        self._sweep(account, lapsed)

    def _finish(self, hold: Hold, state: str) -> None:
        lapsed = self._purses.release(hold.claims)
        self._touch(hold.account).held -= hold.remaining
        hold.remaining, hold.state, hold.claims = 0, state, ()
        hold.version += 1
        self._sweep(hold.account, lapsed)

    def _grant(self, said: Grant) -> None:
        name = f"grant_{self.shard}_{self._position}"
        account = self.accounts[said.account]
        starts = self._at if said.effective_at is None else said.effective_at
        lot = Lot(
            name,
            account,
            said.amount,
            said.amount,
            said.priority,
            starts,
            said.expires_at,
            self._position,
            bytes(said.metadata),
        )
        self._purses.add(lot)
        if starts > self._at:
            self._touch(account)
            return
        lot.state = "active"
        self._pay_out(lot)

    def _pay_out(self, lot: Lot) -> None:
        rest = rest_of("grant", lot.metadata)
        self._move(self.accounts[ISSUANCE], lot.account, lot.amount, rest)

    def _close_lot(self, lot: Lot, state: str) -> None:
        """Take what is left of a lot and not held."""
        free = lot.free
        self._purses.change(lot, remaining=lot.held - lot.remaining, state=state)
        if not free:
            self._touch(lot.account)
        self._sweep(lot.account, {state: free})

    def _sweep(self, account: Account, lapsed: Mapping[str, int]) -> None:
        for state, sink, kind in (
            ("expired", BREAKAGE, "expiry"),
            ("voided", ISSUANCE, "void_grant"),
        ):
            if amount := lapsed.get(state):
                self._move(account, self.accounts[sink], amount, plain(kind))
