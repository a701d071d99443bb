"""A naive oracle of the ledger: credits are coins in boxes, and a coin may bear a grant's name.

It shares no code with the engine, is slow, does what is due at once and for everybody, and says
what must be allowed and what must be left.
"""

from dataclasses import dataclass, field
from math import inf

BANK, DUSTBIN = "system/issuance", "system/breakage"
type Coin = str | None


@dataclass
class Stamp:
    """What is written on the coins of one grant."""

    account: str
    amount: int
    order: tuple[int, float, int]
    begins: int
    ends: float
    paid_out: bool = False
    over: bool = False
    voided: bool = False


@dataclass
class Drawer:
    """Coins put aside for a payment."""

    account: str
    to: str
    coins: list[Coin]
    deadline: int


@dataclass
class Slip:
    """A payment that was made, with the coins in the order in which they were taken."""

    debit: str
    credit: str
    coins: list[Coin]
    given_back: int = 0


@dataclass
class Coins:
    """All boxes; the bank may owe coins."""

    boxes: dict[str, list[Coin]] = field(default_factory=dict)
    owed: int = 0
    stamps: dict[str, Stamp] = field(default_factory=dict)
    drawers: dict[str, Drawer] = field(default_factory=dict)
    slips: dict[str, Slip] = field(default_factory=dict)

    def open(self, *names: str) -> None:
        for name in names:
            self.boxes[name] = []

    def let_time_pass(self, now: int) -> None:
        """Do everything that is due, in the order in which it became due."""
        while True:
            due = [
                *((d.deadline, name) for name, d in self.drawers.items()),
                *((s.begins, name) for name, s in self.stamps.items() if not s.paid_out),
                *((s.ends, name) for name, s in self.stamps.items() if s.paid_out and not s.over),
            ]
            moment, name = min(due, default=(inf, ""))
            if moment > now:
                return
            if name in self.drawers:
                self.put_back(name)
            elif not self.stamps[name].paid_out:
                self.pay_out(name)
            else:
                self.end(name)

    def free(self, name: str) -> int:
        return len(self.boxes[name])

    def held(self, name: str) -> int:
        return sum(len(d.coins) for d in self.drawers.values() if d.account == name)

    def left(self, grant: str) -> int:
        """Return how many coins of a grant the account still has, put aside or not."""
        stamp = self.stamps[grant]
        if not stamp.paid_out:
            return 0 if stamp.over else stamp.amount
        aside = [d.coins for d in self.drawers.values() if d.account == stamp.account]
        return sum(coins.count(grant) for coins in (self.boxes[stamp.account], *aside))

    def take(self, name: str, number: int) -> list[Coin]:
        """Take coins in burning order; those without a grant last."""
        if name == BANK:
            self.owed += number
            return [None] * number
        box = self.boxes[name]
        box.sort(key=lambda coin: (coin is None, self.stamps[coin].order if coin else (0, 0, 0)))
        self.boxes[name] = box[number:]
        return box[:number]

    def put(self, name: str, coins: list[Coin]) -> None:
        if name == BANK:
            self.owed -= len(coins)
        else:
            self.boxes[name] += coins

    def give_home(self, name: str, coins: list[Coin]) -> None:
        """Put coins back where they were, unless their grant is over."""
        for coin in coins:
            stamp = self.stamps[coin] if coin else None
            if stamp and stamp.voided:
                self.put(BANK, [None])
            elif stamp and stamp.over:
                self.put(DUSTBIN, [None])
            else:
                self.put(name, [coin])

    def pay(self, slip: str, debit: str, credit: str, number: int) -> None:
        coins = self.take(debit, number)
        self.put(credit, [None] * number)
        self.slips[slip] = Slip(debit, credit, coins)

    def reserve(self, drawer: str, account: str, to: str, number: int, deadline: int) -> None:
        self.drawers[drawer] = Drawer(account, to, self.take(account, number), deadline)

    def commit(self, name: str, slip: str, number: int, *, final: bool) -> None:
        drawer = self.drawers[name]
        paid, drawer.coins = drawer.coins[:number], drawer.coins[number:]
        self.put(drawer.to, [None] * number)
        self.slips[slip] = Slip(drawer.account, drawer.to, paid)
        if final or not drawer.coins:
            self.put_back(name)

    def put_back(self, name: str) -> None:
        drawer = self.drawers.pop(name)
        self.give_home(drawer.account, drawer.coins)

    def reverse(self, slip: str, new_slip: str, number: int) -> None:
        """Undo a payment from its end: who was paid pays, the coins go home."""
        old = self.slips[slip]
        self.pay(new_slip, old.credit, old.debit, 0)
        self.slips[new_slip].coins = self.take(old.credit, number)
        end = len(old.coins) - old.given_back
        old.given_back += number
        if old.debit == BANK:
            self.put(BANK, [None] * number)
        else:
            self.give_home(old.debit, old.coins[end - number : end])

    def grant(self, name: str, stamp: Stamp, now: int) -> None:
        self.stamps[name] = stamp
        if stamp.begins <= now:
            self.pay_out(name)

    def pay_out(self, name: str) -> None:
        stamp = self.stamps[name]
        stamp.paid_out = True
        self.owed += stamp.amount
        self.put(stamp.account, [name] * stamp.amount)

    def end(self, name: str, *, voided: bool = False) -> None:
        """Take the coins of a grant out of the box; what is put aside stays so."""
        stamp = self.stamps[name]
        box = self.boxes[stamp.account]
        gone = box.count(name)
        self.boxes[stamp.account] = [coin for coin in box if coin != name]
        stamp.over, stamp.voided = True, voided
        stamp.paid_out = True
        self.put(BANK if voided else DUSTBIN, [None] * gone)
