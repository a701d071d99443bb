"""What became of the mutants, held against the list of those that may live."""

import contextlib
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

from tests.mutation.packages import Package

LEAST_KILLED: Final = 0.90
_LISTS: Final = Path(__file__).parent / "survivors"
_DEAD: Final = {"killed", "timeout", "segfault"}  # out of time or of memory: it was noticed
_WORTHS: Final = {"equivalent", "harmless"}


@dataclass(frozen=True, slots=True)
class Change:
    """A mutant as people see it: in which function which lines became which."""

    function: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Pardon:
    """Why some mutants may live: they do the same, or something else that does no harm."""

    worth: str
    why: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """The mutants of one file."""

    file: str
    mutants: int
    killed: int
    out_of_time: int


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a run has found in a package; `unpardoned` and `unneeded` are to be empty."""

    tallies: Sequence[Tally]
    pardons: Sequence[Pardon]
    unpardoned: Sequence[tuple[str, Change]]
    unneeded: Sequence[Change]

    @property
    def killed(self) -> float:
        return sum(each.killed for each in self.tallies) / sum(
            each.mutants for each in self.tallies
        )

    @property
    def good(self) -> bool:
        return self.killed >= LEAST_KILLED and not self.unpardoned and not self.unneeded


def pardons(package: str) -> list[Pardon]:
    """Read the list of a package; ValueError for a worth that is none."""
    listed = tomllib.loads((_LISTS / f"{package}.toml").read_text())["survivors"]
    read = [
        Pardon(
            each["worth"],
            each["why"],
            tuple(Change(each["function"], was, now) for was, now in each["changes"]),
        )
        for each in listed
    ]
    for pardon in read:
        if pardon.worth not in _WORTHS or not pardon.why:
            raise ValueError(f"a survivor is {_WORTHS}, for a reason: {pardon}")
    return read


def judge(package: Package) -> Findings:
    """Read the results in the workshop, and who of the survivors may live."""
    tallies: list[Tally] = []
    alive: list[tuple[str, Change]] = []
    with contextlib.chdir(package.workshop):
        for source in package.sources:
            file = SourceFileMutationData(path=Path(source))
            file.load()
            states = {
                name: status_by_exit_code[code] for name, code in file.exit_code_by_key.items()
            }
            if "not checked" in states.values():
                raise RuntimeError(f"{source} has mutants that were not tried: run it again")
            count = Counter(states.values())
            dead = sum(count[state] for state in _DEAD)
            tallies.append(Tally(Path(source).name, len(states), dead, dead - count["killed"]))
            names = [name for name, state in states.items() if state not in _DEAD]
            alive += [(name, change_of(name, Path(source))) for name in names]
    pardoned = pardons(package.name)
    allowed = [change for pardon in pardoned for change in pardon.changes]
    living = {change for _, change in alive}
    return Findings(
        tallies,
        pardoned,
        unpardoned=[(name, change) for name, change in alive if change not in allowed],
        unneeded=[change for change in allowed if change not in living],
    )


def try_again(package: Package) -> None:
    """Forget the verdict on all that no test has killed: tests that are new since may do so."""
    with contextlib.chdir(package.workshop):
        for source in package.sources:
            file = SourceFileMutationData(path=Path(source))
            file.load()
            for name, code in file.exit_code_by_key.items():
                if status_by_exit_code[code] != "killed":
                    file.exit_code_by_key[name] = None
            if file.exit_code_by_key:
                file.save()


def change_of(name: str, source: Path) -> Change:
    """Say what the mutant of this name is; to be called in its workshop."""
    lines = get_diff_for_mutant(name, path=source).splitlines()[2:]
    was = [line[1:].strip() for line in lines if line.startswith("-")]
    now = [line[1:].strip() for line in lines if line.startswith("+")]
    module, _, function = name.partition("__mutmut_")[0].rpartition(".")
    method = function.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    return Change(f"{module.rpartition('.')[2]}.{method}", " ".join(was), " ".join(now))
